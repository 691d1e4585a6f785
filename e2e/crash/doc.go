// Package crash kills the real functions at every call that they make, and counts the
// tasks that were paid for. Submit, copy-result and close-run run as Lambda runs them: as
// processes that ask a runtime API for work. Each of their calls passes a gate that can kill the
// process before or after the call, lose the reply, or answer wrongly. So no code of
// the functions is there for these tests, and no call is left out.
//
// `make crash` runs it. RELAY_CRASH=1 lets these tests run at all, and
// RELAY_CRASH_ONLY=words only the scenarios whose titles have those words.
package crash
