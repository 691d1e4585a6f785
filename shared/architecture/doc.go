// Package architecture holds the house's arrows, in its test: who may import
// whom, and what stands in each function's folder. It has no code and imports
// nothing of the project.
package architecture
