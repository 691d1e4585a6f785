// Package crash kills the real functions at every call they make, and counts
// what was paid. Submit and close-run run as Lambda runs them: as processes that
// ask a runtime API for work. Each of their calls goes through a gate that can
// kill the process before or after it, lose the reply, or answer wrongly; so the
// product needs no seams, and no call is missed.
//
// `make crash` runs it. RELAY_CRASH=1 lets these tests run at all, and
// RELAY_CRASH_ONLY=words only the scenarios whose titles have those words.
package crash
