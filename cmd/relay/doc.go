// Relay is the command line of cyberun-relay: it starts runs, watches them,
// fetches what they left, stops them and brings failed ones back.
//
// It also calls Cyberun's container services: relay call takes curl's options and
// writes what the container answered to stdout, or into a file.
//
// It speaks to the stack's HTTP API, each call signed with the caller's AWS
// credentials, and finds that API by the stack's name or by --api-url. Results
// go to stdout, progress and errors to stderr; with --json stdout holds one
// JSON document and nothing else: the API's answer, or what several answers were put
// together to.
// relay --help lists the exit codes.
package main
