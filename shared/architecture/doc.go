// Package architecture holds the house's arrows, in its test: who may import
// whom, what stands in each function's folder, and that shared/lifecycle alone
// decides what becomes of a run. It has no code and imports nothing of the project.
package architecture
