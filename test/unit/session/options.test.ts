import { test } from 'tap'
import { readNewSession, readUserId } from '../../../src/session/new-session.ts'
import { resolveSessionOrigins, resolveSessionPolicy, resolveSessionUse } from '../../../src/session/options.ts'
import type { SessionOptions } from '../../../src/session/options.ts'

const secrets = ['a secret of the tests, 32 or more']

test('session policy', async (t) => {
  t.test('has a default for every option but secrets', async (t) => {
    t.match(resolveSessionPolicy({ secrets }), { idleMs: 3_600_000, absoluteMs: 43_200_000, trustedOrigins: [], cookie: { name: 'sid', secure: 'auto', partitioned: false }, redis: undefined })
    t.equal(resolveSessionPolicy({ secrets, idleTimeout: '30d' }).absoluteMs, 30 * 86_400_000, 'a long idle timeout raises the absolute timeout')
  })

  t.test('rejects invalid options by name', async (t) => {
    const refused: Record<string, object> = {
      'session.secrets': { secrets: [] },
      'session.secrets must be .* is a list of 2': { secrets: [...secrets, ...secrets] },
      'session.idleTimeout': { idleTimeout: 3600 },
      'session.absoluteTimeout': { absoluteTimeout: 'long' },
      'session.idleTimeout must be at most': { idleTimeout: '2h', absoluteTimeout: '1h' },
      'session.trustedOrigins': { trustedOrigins: ['https://example.com/'] },
      'session.trustedOrigins must be a list of texts': { trustedOrigins: 'https://example.com' },
      'session.cookie.name': { cookie: { name: '__Host-sid' } },
      'session.cookie.secure': { cookie: { secure: 'yes' } },
      'session.cookie.partitioned': { cookie: { partitioned: 1 } },
      'session.cookie.maxAge': { cookie: { maxAge: 1 } },
      'session.onConflict.cart': { onConflict: { cart: 'merge' } },
      'session.onConflict.cart must be': { onConflict: { cart: { lastWriteWins: true } } },
      'session.ttl': { ttl: '1h' },
      'redis must be an object .* is null': { redis: null },
      'redis must be an object .* is an empty text': { redis: '' },
      'redis must be an object .* is a boolean': { redis: false },
      'redis.url': { redis: { url: 'http://x' } }
    }
    for (const [message, options] of Object.entries(refused)) {
      t.throws(() => resolveSessionPolicy({ secrets, ...options } as SessionOptions), { code: 'PRISM_ERR_OPTION', message: new RegExp(message.replaceAll('.', '\\.').replace('\\.* ', '.* ')) }, message)
    }
  })

  t.test('has a rule for each key: the configured one, that of a well-known plugin, or the default', async (t) => {
    const merge = () => 1
    const { onConflict: keys } = resolveSessionPolicy({ secrets, onConflict: { flash: merge, theme: 'lastWriteWins', stock: 'reject' } })
    t.same([keys.get('flash'), keys.get('theme'), keys.get('stock'), keys.get('cart')], [merge, 'lastWriteWins', 'reject', undefined])
    for (const key of ['_csrf', 'flash', 'passport', 'messages', 'returnTo']) t.same(resolveSessionPolicy({ secrets }).onConflict.get(key), 'lastWriteWins')
    const { onConflict: all } = resolveSessionPolicy({ secrets, onConflict: { default: merge, theme: 'lastWriteWins' } })
    t.same([all.get('theme'), all.get('cart'), all.get('_csrf')], ['lastWriteWins', merge, 'lastWriteWins'])
    t.throws(() => resolveSessionPolicy({ secrets, onConflict: { default: true as never } }), { code: 'PRISM_ERR_OPTION', message: /session\.onConflict\.default/ })
  })

  t.test('uses the innermost setting of scopes and route', async (t) => {
    t.equal(resolveSessionUse([]), 'optional')
    t.equal(resolveSessionUse(['required', false]), false)
    t.equal(resolveSessionUse([false, 'required']), 'required')
    t.equal(resolveSessionUse(['required', { trustedOrigins: ['https://a.example'] }]), 'required', 'trustedOrigins changes nothing else')
    t.equal(resolveSessionUse(['optional', { use: 'required' }]), 'required')
    t.same(resolveSessionOrigins([{ trustedOrigins: ['https://a.example'] }, 'required', false, { use: 'optional', trustedOrigins: ['https://b.example'] }]), ['https://a.example', 'https://b.example'])
    for (const choice of [null, {}.toString(), { use: false }, { use: 'always' }, { origin: [] }]) t.throws(() => resolveSessionUse([choice]), { code: 'PRISM_ERR_OPTION', message: /config\.session/ }, JSON.stringify(choice))
    for (const trustedOrigins of ['https://a.example', ['https://*.a.example'], ['null'], 1]) t.throws(() => resolveSessionOrigins([{ trustedOrigins }]), { code: 'PRISM_ERR_OPTION', message: /config\.session\.trustedOrigins/ }, JSON.stringify(trustedOrigins))
    t.throws(() => resolveSessionUse([true]), { code: 'PRISM_ERR_OPTION', message: /config\.session/ })
  })
})

test('sign-in options', async (t) => {
  const policy = resolveSessionPolicy({ secrets })

  t.test('default to the app\'s lifetimes', async (t) => {
    t.same(readNewSession({}, policy), { absoluteMs: 43_200_000, idleMs: 3_600_000, label: undefined })
    t.same(readNewSession({ idleTimeout: '7d', absoluteTimeout: '30d', label: 'x' }, policy), { absoluteMs: 30 * 86_400_000, idleMs: 7 * 86_400_000, label: 'x' })
    t.same(readNewSession({ absoluteTimeout: '10m' }, policy), { absoluteMs: 600_000, idleMs: 600_000, label: undefined })
  })

  t.test('reject invalid lifetimes, labels and users', async (t) => {
    for (const options of [{ idleTimeout: '13h' as const }, { idleTimeout: 'x' as '1h' }, { idle: '1h' }, { carry: ['cart'] }, { label: 'x'.repeat(101) }, { label: '\ud800' }]) t.throws(() => readNewSession(options, policy), { code: 'PRISM_ERR_OPTION' })
    for (const user of ['', 'x'.repeat(513), 'ü'.repeat(257), '\ud800', 42, undefined, null]) t.throws(() => readUserId(user), { code: 'PRISM_ERR_OPTION' })
    t.equal(readUserId('a:x{}'), 'a:x{}')
  })
})
