package main

import (
	"math"
	"strings"
	"testing"
)

const topOfProfile = `File: bench
Type: cpu
Duration: 4.5s, Total samples = 5s (111%)
Showing nodes accounting for 5s, 100% of 5s total
      flat  flat%   sum%        cum   cum%
     2.00s 40.00% 40.00%      2.00s 40.00%  crypto/internal/fips140/aes/gcm.gcmAesEnc
     0.25s  5.00% 45.00%      0.25s  5.00%  crypto/internal/fips140/aes/gcm.gcmAesDec
     1.75s 35.00% 80.00%      1.75s 35.00%  internal/runtime/syscall/linux.Syscall6
     0.50s 10.00% 90.00%      0.50s 10.00%  runtime.memmove
     0.25s  5.00% 95.00%      0.25s  5.00%  hash/crc32.ieeeCLMUL
     0.25s  5.00%   100%      0.25s  5.00%  github.com/cyberun-cloud/cyberun-relay/shared/transfer/bulk.(*Conn).Write
`

func profiled() []profileRow {
	plain := strings.ReplaceAll(topOfProfile, "aes/gcm.gcmAes", "syscall.") // no AES over plain HTTP
	return append(parseShares(topOfProfile, true), parseShares(plain, false)...)
}

func TestShareOut(t *testing.T) {
	rows, sum := profiled(), 0.0
	for i, want := range []float64{0.45, 0.35, 0.10, 0.05, 0.05, 0, 0.80, 0.10, 0.05, 0.05} {
		sum += rows[i].Share
		if math.Abs(rows[i].Share-want) > 1e-9 || rows[i].TLS != (i < len(shares)) {
			t.Errorf("%q, TLS %t: %g, want %g", rows[i].What, rows[i].TLS, rows[i].Share, want)
		}
	}
	if math.Abs(sum-2) > 1e-9 {
		t.Errorf("the shares of both come to %g, want 2", sum)
	}
}

// A GiB is 1073.74 MB. Ours takes 1.25 s of it on two cores, 2.5 CPU s, of which 1.5 are
// its own: origin and sink take 1. Of the 1.5, 0.8 are given: 1.2. So it would take
// (1.2 + 1) / 2 = 1.1 s, where the manager takes 1.65.
func TestCeiling(t *testing.T) {
	const perGiB = gib / 1e6
	f := &figures{
		Machine: machine{Cores: 2}, Profile: profiled(),
		Large: []largeRow{
			{TLS: true, Name: "ours", MBps: perGiB / 1.25, CPUPerGiB: 1.5, CopyMBps: 1},
			{TLS: true, Name: "manager", MBps: perGiB / 1.65},
			{Name: "ours", MBps: perGiB},
		},
	}
	got, ok := f.ceiling(true)
	want := ceiling{cpu: 1.5, given: 1.2, servers: 1, ofManager: 1.5, nowOfManager: 1.32}
	for _, figure := range [][2]float64{
		{got.cpu, want.cpu}, {got.given, want.given}, {got.servers, want.servers}, {got.ofManager, want.ofManager}, {got.nowOfManager, want.nowOfManager},
	} {
		if math.Abs(figure[0]-figure[1]) > 1e-9 {
			ok = false
		}
	}
	if !ok {
		t.Errorf("the ceiling is %+v, want %+v", got, want)
	}
	if _, ok := f.ceiling(false); ok {
		t.Error("there is a ceiling of what was not measured")
	}
	var b strings.Builder
	reportProfile(&b, f)
	for _, want := range []string{
		"| AES-GCM, once in and once out | 45 % | 0 % |\n",
		"a GiB over TLS would take 1.20 CPU s\nin place of 1.50, and the relay would be at most 1.50 × the manager, in place of 1.32, origin and sink at 1.00 CPU s as now.\n",
		"assumes that no core idles",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, b.String())
		}
	}
}
