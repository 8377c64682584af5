/** The command line for operators, for programs that run it beside their own configuration and with commands of their own. */
export { UsageError } from '../../src/cli/command.ts'
export type { Call, Command, Environment, ReadService } from '../../src/cli/command.ts'
export { main as runCli } from '../../src/cli/main.ts'
export type { ProgramIo } from '../../src/cli/main.ts'
