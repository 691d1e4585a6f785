# `make help` lists what there is. Everything that is installed or built stays inside
# the project, in .tools, .local, bin, out and .aws-sam, but for the caches of Go, uv, pip and npm.

PYTHON  ?= python3
UV      := .tools/uv/bin/uv
SAM     := .tools/sam/bin/sam
CFNLINT := .tools/sam/bin/cfn-lint
STACK   := .local/bin/stack
TOOLS   := local/tools

# The Go release that go.mod's toolchain line names, also where an installation
# of Go is set to use nothing but itself. GOTOOLCHAIN=local builds with that one.
export GOTOOLCHAIN ?= auto

# The Go vulnerability database, as a module. Pinned, so that a check of the same
# commit always says the same; `make vuln VULNDB=latest` asks the newest.
VULNDB  ?= v0.0.0-20261105234957-e22db6528018

# Functions: a third of the size, the same bytes for the same source, and no
# need of the building machine's C library.
FUNCTION_BUILD := CGO_ENABLED=0 GOFLAGS='-trimpath -buildvcs=false "-ldflags=-s -w" -tags=lambda.norpc'
SAM_ENV        := SAM_CLI_TELEMETRY=0

# A test's Wait states last a fifth, its tasks a tenth; signatures and each
# role's policies are enforced, but for webhooks: MiniStack asks a right to
# SendTaskSuccess on any state machine, where AWS grants it for one. The submit
# protocol's waits are shortened; their order stays.
SUBMIT_WAITS := -env SUBMIT_POST=10s -env SUBMIT_SETTLE=4s -env SUBMIT_BETWEEN=10s -env SUBMIT_ABSENCE=20s -env SUBMIT_PATIENCE=40s -env SUBMIT_SPREAD=2s
# On the stack that polls, where retries and tasks last as long as on AWS, the
# submit protocol's waits are shorter still: a first look comes with the first retry.
QUIET_WAITS := -env SUBMIT_POST=5s -env SUBMIT_SETTLE=2s -env SUBMIT_BETWEEN=5s -env SUBMIT_ABSENCE=10s -env SUBMIT_PATIENCE=15s -env SUBMIT_SPREAD=2s
E2E_STACK  ?= -auth -wait-scale 0.2 -speed 10 $(SUBMIT_WAITS)
# The waits of the hundred runs: all of the submit protocol's and of the retries
# divided by 2.5, as their arrival is, so that as many as in truth are in doubt at once.
HUNDRED_STACK := -auth -wait-scale 0.4 -speed 10 -env SUBMIT_POST=10s -env SUBMIT_SETTLE=4s -env SUBMIT_BETWEEN=12s -env SUBMIT_ABSENCE=24s -env SUBMIT_PATIENCE=120s -env SUBMIT_SPREAD=24s
# What the functions call during the end-to-end tests, for `make iam`.
CALLS      := .local/calls
RECORD     := -record $(CALLS)
# Its tests wait more than they work: four at once, on two cores too.
E2E_FLAGS  ?= -timeout 15m -parallel 4
FUZZTIME   ?= 60s
# How many requests `make api-fuzz` makes up, and further flags of schemathesis.
CASES      ?= 2000
API_FUZZ   ?=
# How many uploads `make small` makes at once.
UPLOADS    ?= 60
# Flags of `stack run`: -workflow, -prompt, -param NAME=VALUE …
RUN        ?=
# Flags of local/smoke: -delete, -workflow, -prompt …
SMOKE      ?=
PARAMETERS ?=

.DEFAULT_GOAL := help
.PHONY: help tools build relay run down logs test unit e2e api-fuzz iam crash explored explore mutants small smoke room wait-report bench lint validate vuln fuzz deploy clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: tools relay ## the whole stack on this machine, and one workflow through it; with CYBERUN_API_KEY set, the real service
	@$(MAKE) --no-print-directory $(STACK)
	$(STACK) run $(RUN)

down: $(STACK) ## stop what `make run` left up
	@$(STACK) down

logs: $(STACK) ## what the functions of the local stack logged
	@$(STACK) logs

test: unit explored e2e ## all tests: unit, S3, interleavings, and end to end on a local stack of their own

unit: .tools/bin/versitygw ## unit and S3 tests, with the race detector
	go test -race ./...

# The explorer keeps little alive: with a lazier collector it is a third faster.
EXPLORE := GOGC=400 go test -count=1 -v -timeout 60m
FAULTS  ?= 1
STATES  ?= 2000000

# TestPairs and TestPages play a part of their cases under the race detector, and all here.
explored: ## every interleaving of the eight scenarios that matter most, every meeting of two actors, a proxy's HTML page under every status from 400 to 599
	$(EXPLORE) ./e2e/explore
	go test -count=1 -run 'TestPairs$$|TestPages$$' ./shared/lifecycle ./functions/...

explore: ## every interleaving of every scenario; FAULTS=2 ONLY='NAME;NAME' STATES=N REPLAY=LINE
	$(EXPLORE) ./e2e/explore -all -faults $(FAULTS) -states $(STATES) $(if $(ONLY),-only "$(ONLY)") $(if $(REPLAY),-replay "$(REPLAY)")

mutants: ## break the product on purpose, and expect the explorer to notice; ONLY=NAME, HALF=1
	$(EXPLORE) ./e2e/explore/mutants $(if $(ONLY),-only "$(ONLY)",$(if $(HALF),-half,-all))

e2e: tools relay $(STACK) .tools/openai/.done ## end-to-end tests on a local stack of their own
	@rm -rf $(CALLS)
	$(STACK) exec $(RECORD) $(E2E_STACK) -- go test -count=1 $(E2E_FLAGS) ./e2e
	$(STACK) exec $(RECORD) -auth $(QUIET_WAITS) -param HoldSeconds=0 -- go test -count=1 $(E2E_FLAGS) -run 'Polled|Quiet' ./e2e
	$(STACK) exec $(RECORD) -param HoldSeconds=0 -param WebhooksEnabled=true -await 10 -- go test -count=1 $(E2E_FLAGS) -run Webhook ./e2e
	@$(MAKE) --no-print-directory small

api-fuzz: tools $(STACK) .tools/schemathesis/.done ## generated requests to the API of a local stack against docs/openapi.yaml; CASES=300 for fewer than 2,000
	$(STACK) exec $(E2E_STACK) -- local/apifuzz/run.sh .tools/schemathesis/bin/schemathesis $(CASES) $(API_FUZZ)

iam: ## the calls of the last `make e2e` against the template's rights: none missing, none unused
	@go run ./local/iam $(CALLS)

crash: .tools/bin/versitygw tools $(STACK) ## kill submit, copy-result and close-run at each of their calls, lose every 20th reply of a hundred runs: a table of what was paid
	RELAY_CRASH=1 go test -C e2e/crash -count=1 -timeout 20m -run 'CrashPoints|LargeInput'
	RELAY_CRASH=1 $(STACK) exec $(HUNDRED_STACK) -- go test -C e2e/crash -count=1 -timeout 20m -run HundredRuns

small: tools $(STACK) ## sixty uploads at once on a stack with a new account's quotas: throttles are waited out; UPLOADS=1000 for more
	RELAY_SMALL_ACCOUNT=$(UPLOADS) $(STACK) exec -small-account -wait-scale 0.2 -speed 10 -- go test -count=1 $(E2E_FLAGS) -run SmallAccount ./e2e

smoke: relay ## once through a deployed stack, on your account: STACK=name, SMOKE='-delete …'; three tasks and under $$0.05
	@[ "$(origin STACK)" = "command line" ] || { echo "name the stack: make smoke STACK=cyberun-relay"; exit 2; }
	@go build -o .local/bin/smoke ./local/smoke
	.local/bin/smoke -stack $(STACK) $(SMOKE)

room: tools $(STACK) ## each function once in the room that Lambda gives it: a table of start, call and memory
	@go build -o .local/bin/room ./local/room
	$(STACK) exec -speed 10 -- .local/bin/room

wait-report: tools relay $(STACK) ## what waiting costs, held, polled and with webhooks: docs/waiting
	go run ./local/waitreport

bench: .tools/bin/rclone .tools/aws/.done ## the copy engine beside others: bench/results; BENCH=-quick for a look
	@go mod download # the functions are built where there is no network
	go run -C bench . $(BENCH)

lint: .tools/bin/staticcheck .tools/bin/revive ## gofmt, go vet, staticcheck, and revive for names without a comment
	@unformatted=$$(gofmt -l $$(git ls-files --cached --others --exclude-standard '*.go')); \
	  if [ -n "$$unformatted" ]; then echo "gofmt -w these:"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	.tools/bin/staticcheck ./...
	.tools/bin/revive -config $(TOOLS)/revive.toml ./...

# W2001, "parameter not used": a condition that is decided needs its parameter no more.
validate: .tools/sam/.done .tools/asl/.done ## the template as written and as expanded, the state machine: SAM, cfn-lint, two ASL validators
	AWS_DEFAULT_REGION=us-east-1 $(SAM_ENV) $(SAM) validate --lint
	$(CFNLINT) template.yaml
	AWS_DEFAULT_REGION=us-east-1 .tools/sam/bin/python local/validate/expand.py template.yaml .local/expanded
	$(CFNLINT) --regions us-east-1 eu-central-1 --ignore-checks W2001 -- .local/expanded/*.json
	@if [ -x .tools/asl/node_modules/.bin/asl-validator ]; then \
	  .tools/asl/node_modules/.bin/asl-validator --json-path statemachine/run.asl.json && \
	  node local/validate/asl.js .tools/asl statemachine/run.asl.json; \
	else cat .tools/asl/.done; fi

# govulncheck takes the module's folder of records as its database. Nothing is
# asked of the network but the module proxy; local/tools is no part of what ships.
vuln: .tools/bin/govulncheck ## known vulnerabilities in what the code calls; VULNDB=latest for today's
	@db=$$(go mod download -json golang.org/x/vulndb@$(VULNDB) | sed -n 's/^\t"Dir": "\(.*\)",*$$/\1/p') && [ -n "$$db" ] && \
	for module in . bench; do \
	  echo "govulncheck $$module: $$(go -C $$module env GOVERSION), $${db##*/}"; \
	  .tools/bin/govulncheck -C $$module -db "file://$$db/data/osv" ./... || exit 1; \
	done

fuzz: ## every fuzz target, FUZZTIME (60s) each
	@go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' ./... | while read -r package; do \
	  for target in $$(go test -list '^Fuzz' $$package | grep '^Fuzz'); do \
	    echo "== $$package $$target"; \
	    go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$package || exit 1; \
	  done; \
	done

build: .tools/sam/.done ## the functions, for a real account
	$(FUNCTION_BUILD) $(SAM_ENV) $(SAM) build

deploy: build ## to a real account; PARAMETERS='HoldSeconds=0 …' for the template's parameters
	$(SAM_ENV) $(SAM) deploy --guided $(if $(PARAMETERS),--parameter-overrides $(PARAMETERS))

relay: ## the command line: bin/relay
	go build -o bin/relay ./cmd/relay

tools: .tools/ministack/.done .tools/sam/.done ## the pinned local tools, installed into .tools

clean: ## delete all that was installed and built
	@if [ -x $(STACK) ]; then $(STACK) down; fi
	rm -rf .tools .local .aws-sam bin out

# ---- what the targets above need

# Always asked: the go command knows best whether anything changed.
.PHONY: $(STACK)
$(STACK):
	@go build -o $@ ./local/stack

.tools/uv/.done: $(TOOLS)/uv.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; PYTHON=… names another than $(PYTHON)"; exit 1; }
	@rm -rf .tools/uv
	@$(PYTHON) -m venv .tools/uv || \
	  { echo "Python's venv module is needed (Debian, Ubuntu: apt-get install python3-venv)"; exit 1; }
	.tools/uv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

# Two environments: MiniStack and SAM pin different versions of botocore.
.tools/%/.done: $(TOOLS)/%.txt .tools/uv/.done
	$(UV) venv --quiet --clear --python .tools/uv/bin/python .tools/$*
	$(UV) pip sync --quiet --require-hashes --python .tools/$*/bin/python $<
	@touch $@

.tools/bin/%: $(TOOLS)/go.mod $(TOOLS)/go.sum
	GOBIN=$(CURDIR)/.tools/bin go -C $(TOOLS) install $$(sed -n 's|^[[:space:]]*\(.*/$*\)$$|\1|p' $(TOOLS)/go.mod)
	@touch $@

# A module of its own: its many dependencies would raise those of the tools above.
.tools/bin/rclone: $(TOOLS)/rclone/go.mod $(TOOLS)/rclone/go.sum
	GOBIN=$(CURDIR)/.tools/bin go -C $(TOOLS)/rclone install github.com/rclone/rclone
	@touch $@

.tools/asl/.done: $(TOOLS)/package.json $(TOOLS)/package-lock.json
	@rm -rf .tools/asl && mkdir -p .tools/asl
	@if command -v npm >/dev/null; then \
	  cp $^ .tools/asl/ && cd .tools/asl && npm ci --silent --no-audit --no-fund && touch .done; \
	else echo "the state machine was not validated: asl-validator and AWS's language service need npm, which is not on this machine" >.tools/asl/.done; fi

# New versions: edit local/tools/*.in, then `make lock`.
.PHONY: lock
lock: .tools/uv/.done
	for name in uv ministack sam aws openai schemathesis; do \
	  $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --upgrade \
	    -o $(TOOLS)/$$name.txt $(TOOLS)/$$name.in || exit 1; done
	cd $(TOOLS) && npm install --package-lock-only --silent --omit-lockfile-registry-resolved=true
