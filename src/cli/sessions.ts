import { SessionStore } from '../session/session-store.ts'
import { readSessionRecord } from '../session/session-record.ts'
import { UsageError } from './command.ts'
import type { Command } from './command.ts'
import { durationText, table } from './output.ts'

/** Lists a user's devices, or signs them out. */
export const sessions: Command = {
  usage: 'sessions <user> [--revoke]',
  summary: 'lists where a user is signed in; --revoke signs them out everywhere',
  help: ['Live connections of a user who is signed out here end within 30 s.'],
  flags: { revoke: { type: 'boolean' } },
  run: async ({ words: [user], flags, pool, output }) => {
    if (user === undefined) throw new UsageError('sessions needs a user: fastify-prism sessions 42')
    const { batch, keyspace } = await pool()
    const store = new SessionStore(batch)
    const key = keyspace.userSession(user)
    if (flags.revoke === true) {
      const { length } = await store.revoke(key, { which: 'others', names: [] }) ?? []
      output.tell({ user, revoked: length }, [`Signed ${user} out of ${length} ${length === 1 ? 'device' : 'devices'}.`])
      return 0
    }
    const devices = (await store.list(key)).map(readSessionRecord).map(({ label, createdAt, seenAt, idleEndAt }) => ({ label: label ?? null, createdAt, seenAt, endsAt: idleEndAt }))
    output.tell({ user, devices }, devices.length === 0 ? [`${user} is signed in nowhere.`] : table(['device', 'signed in', 'seen', 'ends in'], devices.map(({ label, createdAt, seenAt, endsAt }) => [label ?? '-', when(createdAt), when(seenAt), durationText(endsAt - Date.now())])))
    return 0
  }
}

function when (at: number): string {
  return new Date(at).toISOString().slice(0, 19).replace('T', ' ')
}
