package transfer

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// byteRange is what a GET asks for: the bytes [from, to), or all of them.
type byteRange struct {
	from, to int64
	whole    bool
}

// contentRange is the range that an answer says it holds: [from, to) of total.
type contentRange struct {
	from, to int64
	total    int64 // -1: the origin does not say
}

// parseContentRange reads "bytes 0-15/100" as [0, 16) of 100. The unit's name is
// in any case (RFC 9110, 14.1), and some servers put other signs or none behind
// it; an unknown total is "*".
func parseContentRange(value string) (contentRange, error) {
	rest := strings.TrimSpace(value)
	if unit := "bytes"; len(rest) > len(unit) && strings.EqualFold(rest[:len(unit)], unit) {
		rest = strings.TrimLeft(rest[len(unit):], " =:\t")
	}
	span, size, _ := strings.Cut(rest, "/")
	first, last, _ := strings.Cut(span, "-")
	from, errFrom := parseByte(first)
	to, errTo := parseByte(last)
	total, errTotal := int64(-1), error(nil)
	if strings.TrimSpace(size) != "*" {
		total, errTotal = parseByte(size)
	}
	if errors.Join(errFrom, errTo, errTotal) != nil || to < from || to == math.MaxInt64 || total >= 0 && total <= to {
		return contentRange{}, errors.New("the origin's Content-Range cannot be read")
	}
	return contentRange{from: from, to: to + 1, total: total}, nil
}

// parseByte reads a number of bytes: digits alone.
func parseByte(digits string) (int64, error) {
	n, err := strconv.ParseUint(strings.TrimSpace(digits), 10, 63)
	return int64(n), err
}

// check returns an error unless the range is what was asked for and as long as
// the body; length is -1 if the answer does not say that.
func (r contentRange) check(want byteRange, length int64) error {
	switch {
	case r.total < 0:
		return errors.New("the origin does not tell the output's length")
	case want.whole && (r.from != 0 || r.to != r.total), !want.whole && (r.from != want.from || r.to > want.to):
		return errors.New("the origin answered with another range than asked")
	case length >= 0 && length != r.to-r.from:
		return errors.New("the origin's Content-Range and Content-Length disagree")
	}
	return nil
}
