// Package picture draws the outputs of the stand-in's tasks: pictures that show their
// prompt, and carry it as PNG text.
package picture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"image"
	"image/png"
	"slices"
)

// Text is one PNG text chunk.
type Text struct{ Keyword, Value string }

// signature is PNG's, and headerEnd where its first chunk, always IHDR, ends.
const (
	signature = "\x89PNG\r\n\x1a\n"
	headerEnd = len(signature) + 4 + 4 + 13 + 4
)

// Encode writes a PNG with the texts as iTXt chunks (UTF-8), right after the header.
func Encode(img image.Image, texts ...Text) ([]byte, error) {
	var out bytes.Buffer
	// Speed before size: a hundred tasks may end at once.
	if err := (&png.Encoder{CompressionLevel: png.BestSpeed}).Encode(&out, img); err != nil {
		return nil, err
	}
	var chunks []byte
	for _, t := range texts {
		chunks = append(chunks, chunk("iTXt", t.Keyword+"\x00\x00\x00\x00\x00"+t.Value)...)
	}
	return slices.Insert(out.Bytes(), headerEnd, chunks...), nil
}

func chunk(kind, data string) []byte {
	body := append([]byte(kind), data...)
	out := binary.BigEndian.AppendUint32(nil, uint32(len(data)))
	return binary.BigEndian.AppendUint32(append(out, body...), crc32.ChecksumIEEE(body))
}

// Texts reads the iTXt chunks that Encode wrote.
func Texts(data []byte) (map[string]string, error) {
	if !bytes.HasPrefix(data, []byte(signature)) {
		return nil, errors.New("not a PNG")
	}
	found := map[string]string{}
	for rest := data[len(signature):]; len(rest) >= 12; {
		size := int(binary.BigEndian.Uint32(rest))
		if size > len(rest)-12 {
			return nil, errors.New("the PNG is cut short")
		}
		kind, body := string(rest[4:8]), rest[8:8+size]
		if kind == "iTXt" {
			if keyword, value, ok := bytes.Cut(body, []byte("\x00\x00\x00\x00\x00")); ok {
				found[string(keyword)] = string(value)
			}
		}
		rest = rest[12+size:]
		if kind == "IEND" {
			return found, nil
		}
	}
	return nil, errors.New("the PNG is cut short")
}
