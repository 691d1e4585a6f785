package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/transfer/bulk"
)

// serve runs origin or sink on two free ports, plain and TLS, says which, and
// ends with its standard input: with the harness, however that ends.
func serve(kind, dir string) error {
	var handler http.Handler = newSink()
	if kind == "origin" {
		handler = &origin{block: makeBlock()}
	}
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	if err != nil {
		return err
	}
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	secure, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	config := &tls.Config{Certificates: []tls.Certificate{cert}, DynamicRecordSizingDisabled: true, NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS12}
	go func() { _ = server.Serve(&listener{Listener: plain}) }()
	go func() { _ = server.Serve(&listener{Listener: secure, config: config}) }()
	fmt.Printf("http://%s https://%s\n", plain.Addr(), secure.Addr())
	_, _ = io.Copy(io.Discard, os.Stdin)
	return server.Close()
}

// listener gives connections that move whole chunks, so that the servers take as
// little as they can of the cores that they share with whoever is measured.
type listener struct {
	net.Listener
	config *tls.Config // nil: plain
}

func (l *listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if l.config == nil {
		return bulk.Plain(conn), nil
	}
	return bulk.Server(conn, l.config), nil
}

// server is one of the two, as a process of its own.
type server struct {
	plain, secure string
	cmd           *exec.Cmd
	stdin         io.Closer
}

func startServer(ctx context.Context, kind, dir string) (*server, error) {
	cmd := exec.CommandContext(ctx, os.Args[0], kind, dir)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	plain, secure, ok := strings.Cut(strings.TrimSpace(line), " ")
	if err != nil || !ok {
		_ = stdin.Close()
		return nil, fmt.Errorf("%s said %q: %w", kind, line, err)
	}
	return &server{plain: plain, secure: secure, cmd: cmd, stdin: stdin}, nil
}

func (s *server) stop() {
	_ = s.stdin.Close()
	_ = s.cmd.Wait()
}

func (s *server) address(secure bool) string {
	if secure {
		return s.secure
	}
	return s.plain
}

// writeCertificate makes the certificate that both servers show and every
// contestant is told to trust. ECDSA P-256, AES-GCM: what S3 and Go agree on.
func writeCertificate(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		DNSNames: []string{"localhost"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "cert.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600),
		os.WriteFile(filepath.Join(dir, "key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600),
	)
}
