import { alert } from './alert-command.ts'
import { rules } from './rules-command.ts'
import { main } from '../src/cli/main.ts'
import { readConfig } from './config.ts'

// The same commands beside the service, whose environment `doctor` checks too.
process.exitCode = await main(process.argv.slice(2), process.env, { readService: readConfig, serviceCommands: { alert, rules } })
