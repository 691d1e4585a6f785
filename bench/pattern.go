package main

import (
	"hash/crc32"
	"io"
	"math/rand/v2"
)

// blockSize is the length of the random block that every file repeats: large
// enough that nothing compresses or caches it, small enough to sit in memory.
const blockSize = 64 << 20

func makeBlock() []byte {
	block := make([]byte, blockSize)
	_, _ = rand.NewChaCha8([32]byte{42}).Read(block)
	return block
}

// at is the file's bytes from an offset on, at most to the block's end.
func at(block []byte, offset, length int64) []byte {
	from := offset % blockSize
	return block[from:min(from+length, blockSize)]
}

// crcOf is the CRC32 of a file of that size, summed the plain way.
func crcOf(block []byte, size int64) uint32 {
	var crc uint32
	for offset := int64(0); offset < size; {
		b := at(block, offset, size-offset)
		crc = crc32.Update(crc, crc32.IEEETable, b)
		offset += int64(len(b))
	}
	return crc
}

// patternReader reads a part of a file from memory; it can be read again.
type patternReader struct {
	block               []byte
	start, offset, size int64
}

func (r *patternReader) Read(p []byte) (int, error) {
	if r.offset == r.size {
		return 0, io.EOF
	}
	n := copy(p, at(r.block, r.start+r.offset, r.size-r.offset))
	r.offset += int64(n)
	return n, nil
}
