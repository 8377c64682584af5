import { ConfigError } from '../errors.ts'
import { checkServer } from './checks.ts'
import type { Finding } from './checks.ts'
import { ReachFault, UsageFault } from './command.ts'
import type { Call, Command } from './command.ts'

/** Says what is wrong with the environment and with Redis, and what to change. */
export const doctor: Command = {
  usage: 'doctor',
  summary: 'checks the environment and Redis, and says what to change and why',
  help: ['Environment, connection, TLS and password, version, role, memory and eviction policy, persistence, latency, clock, clients.', 'Exit code: 0 well (warnings included), 1 something is wrong, 2 there is no address to ask.'],
  run: async (call) => {
    const findings = [...checkEnvironment(call), ...await checkRedis(call)]
    const isWell = findings.every(({ state }) => state !== 'wrong')
    call.output.tell({ isWell, findings }, [...findings.map((finding) => line(call, finding)), '', isWell ? 'All is well.' : 'Something is wrong: see above.'])
    return isWell ? 0 : 1
  }
}

function checkEnvironment ({ environment, url, readService }: Call): Finding[] {
  if (readService === undefined) return []
  try {
    const { warnings } = readService({ ...environment, ...(url === undefined ? {} : { REDIS_URL: url }) })
    if (warnings.length === 0) return [{ check: 'environment', state: 'fine', says: 'Every variable can be used.' }]
    return warnings.map((says) => ({ check: 'environment', state: 'warning', says, change: 'Set it where the service runs.' }))
  } catch (error) {
    if (!(error instanceof ConfigError) || !('faults' in error)) throw error
    return (error.faults as { variable: string, wanted: string, came: string }[]).map(({ variable, wanted, came }) => ({ check: 'environment', state: 'wrong', says: `${variable} is ${came}.`, change: `${variable} must be ${wanted}.` }))
  }
}

async function checkRedis (call: Call): Promise<Finding[]> {
  try {
    const client = await call.client()
    return [{ check: 'connection', state: 'fine', says: `Redis answers at ${URL.parse(call.url ?? '')?.host ?? 'its socket'}.` }, ...await checkServer(client, call.url ?? '')]
  } catch (error) {
    if (error instanceof UsageFault) throw error
    const says = error instanceof ReachFault ? error.message : `Redis refused a command: ${(error as Error).message}.`
    const [what = '', change = ''] = says.split(/: (?=[^:]*(?::[^:]*)*$)/, 2)
    return [{ check: 'connection', state: 'wrong', says: `${what}.`, change: change === '' ? 'See above.' : change }]
  }
}

function line ({ output }: Call, { check, state, says, change }: Finding): string {
  const sign = { fine: output.tint('green', '✓'), warning: output.tint('yellow', '!'), wrong: output.tint('red', '✗') }[state]
  return `${sign} ${check.padEnd(12)} ${says}${change === undefined ? '' : `\n  ${' '.repeat(12)} ${output.tint('dim', '→')} ${change}`}`
}
