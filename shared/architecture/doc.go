// Package architecture holds, in its tests, what no compiler does: who may import
// whom, what stands in each function's folder, that shared/lifecycle alone decides
// what becomes of a run, and that README, CONTRIBUTING and docs name what there is
// and say what the template and the OpenAPI document say. It has no code and
// imports nothing of the project.
package architecture
