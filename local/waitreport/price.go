package main

// Prices of us-east-1, US dollars. Left out on all sides alike, since they do not
// depend on how a run waits or are lost beside the rest: S3 requests, logs, the
// HTTP API ($0.000001 for a webhook), free tiers.
const (
	perTransition = 0.025 / 1000   // Step Functions, Standard: each state entered, each retry
	perGBSecond   = 0.0000133334   // Lambda on arm64
	perCall       = 0.20 / 1000000 // Lambda requests
)

func gbSeconds(calls []Call) (sum float64) {
	for _, c := range calls {
		sum += c.Seconds * float64(c.MemoryMB) / 1024
	}
	return sum
}

func cost(transitions, calls int, gbs float64) float64 {
	return float64(transitions)*perTransition + gbs*perGBSecond + float64(calls)*perCall
}
