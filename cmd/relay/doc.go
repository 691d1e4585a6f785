// Relay is the command line of cyberun-relay: it starts runs, watches them,
// fetches what they left, stops them and brings failed ones back.
//
// It also calls Cyberun's container services: relay call takes curl's options and
// writes what the container answered to stdout, or into a file.
//
// It speaks to the stack's HTTP API, each call signed with the caller's AWS
// credentials, and finds that API by the stack's name or by --api-url. Results
// go to stdout, progress and errors to stderr; with --json stdout holds the
// API's own JSON and nothing else.
//
// Exit codes:
//
//	0    done; of a run: it succeeded, or still goes on and was not watched
//	1    the run failed, or an output could not be saved
//	2    the command or the request is wrong; nothing was started
//	3    the API or AWS could not be reached, or refused the credentials
//	4    the run was cancelled
//	5    --timeout passed; the run goes on
//	6    relay call: the container answered 4xx
//	7    relay call: the container answered 5xx
//	130  interrupted; a run that was started goes on
package main
