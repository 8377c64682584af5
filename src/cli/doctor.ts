import type { Redis } from 'ioredis'
import { reasonOf } from '../redis/health/unreachable-reason.ts'
import { checkServer } from './checks.ts'
import type { Finding, RedisRole } from './checks.ts'
import { checkCluster } from './cluster-checks.ts'
import { ConnectError, UsageError } from './command.ts'
import type { Call, Command } from './command.ts'
import { bounded, isClusterAddress } from './connect.ts'

/** Says what is wrong with the environment and with Redis, and what to change. */
export const doctor: Command = {
  usage: 'doctor',
  summary: 'checks the environment and Redis, and reports each problem with its remedy',
  help: ['Environment, connection, TLS and password, version, role, memory and eviction policy, persistence, latency, clock, clients; of a Cluster each master, and the separate Redis for sessions (SESSION_REDIS_URL).', 'Writes no lasting data. Each step ends within 8 s.'],
  examples: ['doctor', 'doctor --url rediss://user:password@host:6379', 'doctor --json'],
  exitCodes: 'Exit code: 0 no problem (warnings included), 1 a problem was found, 2 no address of Redis.',
  run: async (call) => {
    const findings: Finding[] = []
    for await (const finding of check(call)) {
      findings.push(finding)
      call.output.tellPart([line(call, finding)])
    }
    const isWell = findings.every(({ state }) => state !== 'wrong')
    const closing = ['', isWell ? 'No problem was found.' : 'A problem was found: see ✗ above.']
    if (call.output.isJson) call.output.tell({ isWell, findings }, [])
    else call.output.tellPart(closing)
    return isWell ? 0 : 1
  }
}

/** Each finding as soon as it is known. */
async function * check (call: Call): AsyncGenerator<Finding> {
  yield * checkEnvironment(call)
  // Where sessions have a Redis of their own, each is judged by what it holds.
  const sessionUrl = call.readService === undefined ? undefined : call.environment.SESSION_REDIS_URL?.trim() || undefined
  yield * checkRedis(call, call.url, sessionUrl === undefined ? 'all' : 'all but sessions')
  if (sessionUrl !== undefined) for await (const finding of checkRedis(call, sessionUrl, 'sessions')) yield ofSessions(finding)
}

/** Beside the findings of the other Redis, those of the sessions' name its variable. */
function ofSessions (finding: Finding): Finding {
  const named = (text: string) => text.replace(/\bREDIS_URL/g, 'SESSION_REDIS_URL')
  const says = named(finding.says)
  return { ...finding, says: says.startsWith('SESSION_REDIS_URL') ? says : `SESSION_REDIS_URL: ${says}`, ...(finding.change === undefined ? {} : { change: named(finding.change) }) }
}

function checkEnvironment ({ environment, url, readService }: Call): Finding[] {
  if (readService === undefined) return []
  try {
    const { warnings } = readService({ ...environment, ...(url === undefined ? {} : { REDIS_URL: url }) })
    if (warnings.length === 0) return [{ check: 'environment', state: 'fine', says: 'All variables are valid.' }]
    return warnings.map((says) => ({ check: 'environment', state: 'warning', says, change: 'Set it where the service runs.' }))
  } catch (error) {
    if (!(error instanceof Error) || !('faults' in error)) throw error
    return (error.faults as { variable: string, wanted: string, came: string }[]).map(({ variable, wanted, came }) => ({ check: 'environment', state: 'wrong', says: `${variable} is ${came}.`, change: `${variable} must be ${wanted}.` }))
  }
}

async function * checkRedis (call: Call, url: string | undefined, holds: RedisRole): AsyncGenerator<Finding> {
  try {
    if (url === undefined) throw new UsageError('REDIS_URL is unset, and no --url was given: name the address of a Redis.')
    const reached = await call.client(url)
    yield * await checkCluster(reached, isClusterAddress(url))
    const masters = await call.masters(url, reached)
    const says = `Redis replies at ${whereOf(url)}${masters.length > 1 ? `, a Cluster of ${masters.length} masters` : ''}${holds === 'sessions' ? ', the separate Redis for sessions' : ''}.`
    yield { check: 'connection', state: 'fine', says }
    for (const client of masters) for await (const finding of steps(checkServer(client, url, holds, call.prefix))) yield masters.length > 1 ? ofNode(finding, client) : finding
  } catch (error) {
    yield connectionFinding(error as Error, url, holds)
  }
}

/** Whatever a server hangs at, the next step or the end comes. */
async function * steps (findings: AsyncGenerator<Finding>): AsyncGenerator<Finding> {
  for (;;) {
    const { done, value } = await bounded(findings.next())
    if (done === true) return
    yield value
  }
}

function connectionFinding (error: Error, url: string | undefined, holds: RedisRole): Finding {
  if (error instanceof UsageError) {
    if (url === undefined) throw error
    const variable = holds === 'sessions' ? 'SESSION_REDIS_URL' : 'REDIS_URL'
    return { check: 'connection', state: 'wrong', says: error.message.replace('The address of Redis', variable), change: `Write ${variable} as redis://user:password@host:port; characters such as , @ : / # % in a password must be percent-encoded.` }
  }
  const { sentence, remedy, code } = error instanceof ConnectError ? error.reason : reasonOf(error, { where: whereOf(url) })
  return { check: 'connection', state: 'wrong', reason: code, says: sentence, change: remedy }
}

function whereOf (url: string | undefined): string {
  return URL.parse(url?.split(',')[0] ?? '')?.host || 'its socket'
}

function ofNode (finding: Finding, client: Redis | undefined): Finding {
  const node = `${client?.options.host}:${client?.options.port}`
  return { ...finding, node, says: `${node}: ${finding.says}` }
}

function line ({ output }: Call, { check, state, says, change }: Finding): string {
  const sign = { fine: output.tint('green', '✓'), warning: output.tint('yellow', '!'), wrong: output.tint('red', '✗') }[state]
  return `${sign} ${check.padEnd(12)} ${says}${change === undefined ? '' : `\n  ${' '.repeat(12)} ${output.tint('dim', '→')} ${change}`}`
}
