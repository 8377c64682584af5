#!/usr/bin/env -S node --disable-warning=ExperimentalWarning
import { alert } from './alert-command.ts'
import { rules } from './rules-command.ts'
import { runCli } from '../plugins/standalone/cli.ts'
import { readConfig } from './config.ts'

// The same commands beside the service, whose environment `doctor` checks too. In the image this file is the bin of `npx fastify-prism`.
const program = process.env.npm_lifecycle_event === 'npx' ? 'npx fastify-prism' : 'npm run prism --'

process.exitCode = await runCli(process.argv.slice(2), process.env, { program, readService: readConfig, serviceCommands: { alert, rules } })
