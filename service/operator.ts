import { alert } from './alert-command.ts'
import { rules } from './rules-command.ts'
import { runCli } from '../plugins/standalone/cli.ts'
import { readConfig } from './config.ts'

// The same commands beside the service, whose environment `doctor` checks too.
process.exitCode = await runCli(process.argv.slice(2), process.env, { program: 'npm run prism --', readService: readConfig, serviceCommands: { alert, rules } })
