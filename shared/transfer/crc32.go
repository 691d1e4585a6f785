package transfer

import (
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
)

// combineCRC32 returns the CRC32 (IEEE) of A followed by B, from the CRC of each and
// the length of B, without another pass over the bytes. Appending B to A multiplies
// A's remainder by x^(8·len(B)) modulo the polynomial.
func combineCRC32(a, b uint32, lenB int64) uint32 {
	const one, x8 = uint32(1) << 31, uint32(1) << 23 // x^0 and x^8, bits reflected
	shift, power := one, x8
	for n := lenB; n > 0; n >>= 1 {
		if n&1 == 1 {
			shift = multiplyModP(shift, power)
		}
		power = multiplyModP(power, power)
	}
	return multiplyModP(shift, a) ^ b
}

// multiplyModP multiplies two polynomials over GF(2) modulo the IEEE one.
func multiplyModP(a, b uint32) uint32 {
	var product uint32
	for bit := uint32(1) << 31; bit != 0; bit >>= 1 {
		if a&bit != 0 {
			product ^= b
		}
		if b&1 == 1 {
			b = b>>1 ^ crc32.IEEE
		} else {
			b >>= 1
		}
	}
	return product
}

// encodeCRC32 writes a CRC the way S3 wants it: base64 of the big-endian bytes.
func encodeCRC32(crc uint32) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc))
}

// decodeCRC32 reads a CRC32 of bytes. It refuses a composite one ("…-12"), which is a
// checksum of checksums.
func decodeCRC32(text *string) (uint32, bool) {
	if text == nil {
		return 0, false
	}
	raw, err := base64.StdEncoding.DecodeString(*text)
	if err != nil || len(raw) != crc32.Size {
		return 0, false
	}
	return binary.BigEndian.Uint32(raw), true
}
