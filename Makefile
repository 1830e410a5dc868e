# Aliases of scripts/, nothing else: what a target does stands in the script of its name.
# `make demo DOCS=~/notes` reaches scripts/demo as the environment variable DOCS.
.PHONY: help demo test check bootstrap

help:
	@echo 'make demo              set everything up, add real documents, ask questions, show the answers'
	@echo 'make demo DOCS=~/notes the same on your own notes'
	@echo 'make test              set everything up, run the whole test suite'
	@echo 'make check             the gate: format, lint, types, imports, dependencies, SQL, shell'
	@echo 'make bootstrap         only set everything up (.venv)'

demo test check bootstrap:
	@scripts/$@
