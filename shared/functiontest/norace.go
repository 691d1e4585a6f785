//go:build !race

package functiontest

const stride = 1
