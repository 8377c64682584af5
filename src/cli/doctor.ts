import type { Redis } from 'ioredis'
import { ConfigError } from '../errors.ts'
import { checkServer } from './checks.ts'
import type { Finding, Holding } from './checks.ts'
import { ReachFault, UsageFault } from './command.ts'
import type { Call, Command } from './command.ts'

/** Says what is wrong with the environment and with Redis, and what to change. */
export const doctor: Command = {
  usage: 'doctor',
  summary: 'checks the environment and Redis, and says what to change and why',
  help: ['Environment, connection, TLS and password, version, role, memory and eviction policy, persistence, latency, clock, clients; of a Cluster each master, and the sessions\' own Redis (SESSION_REDIS_URL).', 'Exit code: 0 well (warnings included), 1 something is wrong, 2 there is no address to ask.'],
  run: async (call) => {
    const findings = [...checkEnvironment(call), ...await checkServers(call)]
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

/** Where sessions have a Redis of their own, each is judged by what it holds. */
async function checkServers (call: Call): Promise<Finding[]> {
  const sessionUrl = call.readService === undefined ? undefined : call.environment.SESSION_REDIS_URL?.trim() || undefined
  if (sessionUrl === undefined) return await checkRedis(call, call.url, 'all')
  return [...await checkRedis(call, call.url, 'all but sessions'), ...await checkRedis(call, sessionUrl, 'sessions')]
}

async function checkRedis (call: Call, url: string | undefined, holds: Holding): Promise<Finding[]> {
  try {
    const masters = await call.masters(url)
    const where = URL.parse(url?.split(',')[0] ?? '')?.host || 'its socket'
    const says = `Redis answers at ${where}${masters.length > 1 ? `, a Cluster of ${masters.length} masters` : ''}${holds === 'sessions' ? ', where sessions are kept' : ''}.`
    const all = await Promise.all(masters.map((client) => checkServer(client, url ?? '', holds)))
    return [{ check: 'connection', state: 'fine', says }, ...all.flatMap((findings, index) => masters.length > 1 ? findings.map((finding) => ofNode(finding, masters[index])) : findings)]
  } catch (error) {
    if (error instanceof UsageFault) throw error
    const says = error instanceof ReachFault ? error.message : `Redis refused a command: ${(error as Error).message}.`
    // What is wrong, a colon, what to do: the first of them, for an address has no space after its own.
    const [, what = says, change = 'See above.'] = /^(.*?): (.*)$/s.exec(says) ?? []
    return [{ check: 'connection', state: 'wrong', says: `${what.replace(/\.$/, '')}.`, change }]
  }
}

function ofNode (finding: Finding, client: Redis | undefined): Finding {
  const node = `${client?.options.host}:${client?.options.port}`
  return { ...finding, node, says: `${node}: ${finding.says}` }
}

function line ({ output }: Call, { check, state, says, change }: Finding): string {
  const sign = { fine: output.tint('green', '✓'), warning: output.tint('yellow', '!'), wrong: output.tint('red', '✗') }[state]
  return `${sign} ${check.padEnd(12)} ${says}${change === undefined ? '' : `\n  ${' '.repeat(12)} ${output.tint('dim', '→')} ${change}`}`
}
