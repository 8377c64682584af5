import { alert } from '../../service/alert-command.ts'
import { rules } from '../../service/rules-command.ts'
import { main } from '../../src/cli/main.ts'
import { readConfig } from '../../service/config.ts'
import { testSecret } from './app.ts'

/** Arguments of a Redis in which doctor finds no problem. */
export const well = ['--maxmemory', '100mb', '--maxmemory-policy', 'volatile-ttl']

/** Exit code and output of a command. */
export interface Ran { code: number, out: string, err: string }

/** Runs one command as a process without a terminal does. */
export async function run (args: readonly string[], environment: Record<string, string> = {}): Promise<Ran> {
  const [out, err]: [string[], string[]] = [[], []]
  const code = await main(args, { SESSION_SECRET: testSecret, ...environment }, {
    readService: readConfig,
    serviceCommands: { alert, rules },
    out: { write: (text) => out.push(text) },
    err: { write: (text) => err.push(text) }
  })
  return { code, out: out.join(''), err: err.join('') }
}

/** Result of one doctor check. */
export async function finding (url: string, check: string, environment: Record<string, string> = {}): Promise<{ code: number, state: string, says: string, change?: string }> {
  const { code, out } = await run(['doctor', '--json', '--url', url], environment)
  return { code, ...JSON.parse(out).findings.find((each: { check: string }) => each.check === check) }
}
