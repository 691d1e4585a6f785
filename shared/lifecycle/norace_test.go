//go:build !race

package lifecycle

const stride = 1
