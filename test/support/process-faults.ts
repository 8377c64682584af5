import type { Rig } from './proxied-redis.ts'
import { until } from './until.ts'

/** A fault of Redis, or of the connection to it. */
export interface Fault {
  /** one sentence for tables */
  does: string
  /** Injects the fault; resolves when it has an effect. A fault that Redis times lasts `lastsMs`, by default 1000. */
  inject (rig: Rig, lastsMs?: number): Promise<void>
  /** Heals the fault; resolves when the server is ready again. */
  heal (rig: Rig): Promise<void>
}

const DEAD_MASTER = ['127.0.0.1', '1'] as const
const FILLER_KEYS = 10_000
const PATIENCE_MS = 50

/** All faults of the server itself. */
export const processFaults = {
  hung: {
    does: 'the process is stopped: connections stay open, nothing replies',
    inject: async ({ redis }) => redis.signal('SIGSTOP'),
    heal: async ({ redis, control }) => {
      redis.signal('SIGCONT')
      await control.ping()
    }
  },

  killed: {
    does: 'the process is killed; it comes back empty',
    inject: async ({ redis }) => await redis.kill(),
    heal: async ({ redis, control }) => {
      await redis.start()
      await control.ping()
    }
  },

  restarted: {
    does: 'the process is killed and is back at once, empty',
    inject: async ({ redis }) => await redis.restart(),
    heal: async ({ control }) => { await control.ping() }
  },

  restored: {
    does: 'the process is killed and is back at once with the snapshot taken before, or now if none was',
    inject: async (rig) => {
      if (!rig.redis.hasSnapshot) await takeSnapshot(rig)
      await rig.redis.restart({ withSnapshot: true })
    },
    heal: async ({ control }) => { await control.ping() }
  },

  paused: {
    does: 'CLIENT PAUSE ALL: every command waits until it is over',
    inject: async ({ control }, lastsMs = 1000) => { await control.call('CLIENT', 'PAUSE', lastsMs, 'ALL') },
    heal: async ({ control }) => { await control.ping() }
  },

  asleep: {
    does: 'DEBUG SLEEP: the server is at one long command',
    inject: async (rig, lastsMs = 1000) => {
      rig.control.call('DEBUG', 'SLEEP', lastsMs / 1000).catch(() => {}) // the reply arrives when the fault is over
      await until(() => isSilent(rig), { what: 'the server sleeps' })
    },
    heal: async ({ control }) => { await control.ping() }
  },

  busy: {
    does: 'a script runs for ever: BUSY',
    inject: async (rig) => {
      await rig.control.config('SET', 'busy-reply-threshold', '10')
      const runner = rig.control.duplicate()
      runner.on('error', () => {}) // eval reports it
      runner.eval('while true do end', 0).catch(() => {}).finally(() => runner.disconnect())
      await until(() => repliesWith(rig, 'BUSY'), { what: 'the server replies BUSY' })
    },
    heal: async ({ control }) => {
      await control.call('SCRIPT', 'KILL')
      await until(() => control.config('SET', 'busy-reply-threshold', '5000'), { what: 'the script is dead' })
    }
  },

  full: configured('memory is full and nothing may go: OOM for writes', { 'maxmemory-policy': 'noeviction', maxmemory: '1' }),

  noReplicas: configured('too few replicas: NOREPLICAS for writes', { 'min-replicas-to-write': '1' }),

  readOnly: {
    does: 'the server became a replica: READONLY for writes',
    inject: async ({ control }) => { await control.replicaof(...DEAD_MASTER) },
    heal: async ({ control }) => { await control.replicaof('NO', 'ONE') }
  },

  masterDown: {
    does: 'a replica without its master: MASTERDOWN for all',
    inject: async ({ control }) => {
      await control.config('SET', 'replica-serve-stale-data', 'no')
      await control.replicaof(...DEAD_MASTER)
    },
    heal: async ({ control }) => {
      await control.replicaof('NO', 'ONE')
      await control.config('SET', 'replica-serve-stale-data', 'yes')
    }
  },

  loading: {
    does: 'the server was restarted and loads a large snapshot: LOADING for all',
    inject: async (rig) => {
      const { redis, control } = rig
      await control.eval("for i = 1, ARGV[1] do redis.call('SET', 'filler:' .. i, string.rep('x', 1000)) end", 0, FILLER_KEYS)
      await control.save()
      await redis.keepSnapshot()
      await redis.restart({ withSnapshot: true, args: ['--key-load-delay', '2000', '--loading-process-events-interval-bytes', '1024'] })
      await until(() => repliesWith(rig, 'LOADING'), { what: 'the server replies LOADING' })
    },
    heal: async (rig) => {
      const { control } = rig
      await control.config('SET', 'key-load-delay', '0')
      await until(async () => !await repliesWith(rig, 'LOADING'), { what: 'the server has loaded' })
      await control.eval("for i = 1, ARGV[1] do redis.call('UNLINK', 'filler:' .. i) end", 0, FILLER_KEYS)
    }
  },

  flushed: {
    does: 'FLUSHALL: every key is gone',
    inject: async ({ control }) => { await control.flushall() },
    heal: async () => {}
  },

  scriptsFlushed: {
    does: 'SCRIPT FLUSH: every script is forgotten',
    inject: async ({ control }) => { await control.script('FLUSH') },
    heal: async () => {}
  },

  kicked: {
    does: 'CLIENT KILL: every connection is closed once',
    inject: async (rig) => await kick(rig),
    heal: async () => {}
  },

  crowded: {
    does: 'no client more may connect, and all were sent away',
    inject: async (rig) => {
      await rig.control.config('SET', 'maxclients', '1')
      await kick(rig)
    },
    heal: async ({ control }) => { await control.config('SET', 'maxclients', '10000') }
  },

  lockedOut: {
    does: 'the password was changed: NOAUTH for new connections, and all were sent away',
    inject: async (rig) => {
      await rig.control.call('ACL', 'SETUSER', 'default', 'resetpass', '>changed')
      await kick(rig)
    },
    heal: async ({ control }) => { await control.call('ACL', 'SETUSER', 'default', 'nopass') }
  },

  denied: {
    does: 'the user may do nothing any more: NOPERM',
    inject: async ({ control }) => { await control.call('ACL', 'SETUSER', 'default', '-@all') },
    heal: async ({ control }) => { await control.call('ACL', 'SETUSER', 'default', '+@all') }
  }
} satisfies Record<string, Fault>

/** Saves the server's current data for the fault `restored`. */
export async function takeSnapshot ({ redis, control }: Rig): Promise<void> {
  await control.save()
  await redis.keepSnapshot()
}

/** A fault by configuration; healed by the previous value. */
function configured (does: string, settings: Record<string, string>): Fault {
  const before = new WeakMap<Rig, string[]>()
  return {
    does,
    inject: async (rig) => {
      before.set(rig, await valuesOf(rig, Object.keys(settings)))
      await rig.control.call('CONFIG', 'SET', ...Object.entries(settings).flat())
    },
    heal: async (rig) => {
      await rig.control.call('CONFIG', 'SET', ...before.get(rig) ?? [])
    }
  }
}

async function valuesOf ({ control }: Rig, names: string[]): Promise<string[]> {
  const values = await Promise.all(names.map((name) => control.config('GET', name)))
  return values.flat().map(String)
}

async function kick ({ control }: Rig): Promise<void> {
  for (const type of ['normal', 'pubsub']) await control.call('CLIENT', 'KILL', 'TYPE', type, 'SKIPME', 'yes')
}

/** True if a ping past the proxy gets this error. */
async function repliesWith ({ control }: Rig, code: string): Promise<boolean> {
  return await control.call('GET', 'filler:1').then(() => false, (error: Error) => error.message.startsWith(code))
}

/** True if the server accepts no new connection for a moment. */
async function isSilent ({ control }: Rig): Promise<boolean> {
  const probe = control.duplicate({ commandTimeout: PATIENCE_MS, connectTimeout: PATIENCE_MS })
  probe.on('error', () => {}) // ping reports it
  try {
    return await probe.ping().then(() => false, () => true)
  } finally {
    probe.disconnect()
  }
}
