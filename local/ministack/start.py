"""Starts MiniStack with what Step Functions and S3 do on AWS and MiniStack does not.

The local start runs this file instead of MiniStack's own command: `executions`
adds redrive, time-outs of whole executions and stops that hold, `uploads` adds
the version of an object to its event, `limits` answers as Lambda and Step
Functions do at theirs. Each says in its own words what it adds
and where AWS still differs. `guard` refuses a MiniStack that it was not written
for. Nothing here is installed or deployed: it is loaded into this one process.
"""

import sys

import executions
import guard
import limits
import uploads


def main():
    missing = guard.missing(executions.NEEDS | limits.NEEDS | uploads.NEEDS)
    if missing:
        sys.exit("local/ministack does not fit this MiniStack:\n  " + "\n  ".join(missing)
                 + "\nRead what changed there, mend local/ministack, then write the new fingerprints down.")
    executions.install()
    limits.install()
    uploads.install()
    from ministack.app import main as ministack
    ministack()


if __name__ == "__main__":
    main()
