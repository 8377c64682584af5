import { SessionStore } from '../session/session-store.ts'
import { readSessionRecord } from '../session/session-record.ts'
import { UsageError } from './command.ts'
import type { Call, Command } from './command.ts'
import { durationText, table } from './output.ts'

/** Lists a user's devices, or signs them out. */
export const sessions: Command = {
  usage: 'sessions <user ID> [--revoke]',
  summary: 'lists the devices of a user; --revoke signs them out everywhere',
  help: [
    'The user ID is the first argument of the app\'s signIn(), not a name or an e-mail address: find it in the app\'s database.',
    'In the example service: SELECT id FROM users WHERE name = \'Ada\' in the SQLite file DATABASE_PATH.',
    'The device is the label that the app has set, or browser and system, such as Firefox on Windows.',
    'Beside the service, the sessions are read from SESSION_REDIS_URL where it is set and --url is not.',
    'Live connections of a user who is signed out here end within 30 s.'
  ],
  examples: ['sessions 42', 'sessions 42 --revoke'],
  flags: { revoke: { type: 'boolean', help: 'ends all sessions of the user' } },
  run: async (call) => {
    const { words: [user], flags, pool, output, program } = call
    if (user === undefined) throw new UsageError(`sessions needs a user ID: ${program} sessions 42`)
    const { batch, keyspace } = await pool(addressOf(call))
    const store = new SessionStore(batch)
    const key = keyspace.userSession(user)
    if (flags.revoke === true) {
      const { length } = await store.revoke(key, { which: 'others', names: [] }) ?? []
      output.tell({ user, revoked: length }, [`Signed ${user} out of ${length} ${length === 1 ? 'device' : 'devices'}.`, ...length === 0 ? nothingFound(program) : []])
      return 0
    }
    const devices = (await store.list(key)).map(readSessionRecord).map(({ label, createdAt, seenAt, idleEndAt }) => ({ label: label ?? null, createdAt, seenAt, endsAt: idleEndAt }))
    const rows = devices.map(({ label, createdAt, seenAt, endsAt }) => [label ?? '-', when(createdAt), when(seenAt), durationText(endsAt - Date.now())])
    output.tell({ user, devices }, devices.length === 0 ? [`No session is stored for the user ID ${user}.`, ...nothingFound(program)] : table(['device', 'signed in (UTC)', 'last seen (UTC)', 'ends in'], rows))
    return 0
  }
}

/** Of the service the Redis of its sessions. */
function addressOf ({ flags, readService, environment, url }: Call): string | undefined {
  if (flags.url !== undefined || readService === undefined) return url
  return environment.SESSION_REDIS_URL?.trim() || url
}

function nothingFound (program: string): string[] {
  return ['The command takes the user ID that the app passes to signIn(), not a name or an e-mail address: find it in the app\'s database.', `If the ID is right, the user is signed in nowhere. See also ${program} sessions --help.`]
}

function when (at: number): string {
  return new Date(at).toISOString().slice(0, 19).replace('T', ' ')
}
