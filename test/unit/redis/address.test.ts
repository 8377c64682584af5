import t from 'tap'
import { readAddress } from '../../../src/redis/address.ts'
import { placeOf } from '../../../src/redis/health/protocol-probe.ts'

t.test('address parses one server, with and without user, password, port and database', async (t) => {
  t.same(readAddress('url', 'redis://localhost'), { kind: 'server', options: { host: 'localhost', port: 6379, db: 0 } })
  t.same(readAddress('url', ' redis://app:s%40cret@redis.example:7000/3 '), { kind: 'server', options: { host: 'redis.example', port: 7000, db: 3, username: 'app', password: 's@cret' } })
  t.same(readAddress('url', 'redis://:secret@[::1]:7000'), { kind: 'server', options: { host: '::1', port: 7000, db: 0, password: 'secret' } })
  t.same(readAddress('url', 'redis://localhost?family=0'), { kind: 'server', options: { host: 'localhost', port: 6379, db: 0, family: 0 } })
})

t.test('address uses the host name as the TLS server name, and no IP address', async (t) => {
  t.same(readAddress('url', 'rediss://redis.example'), { kind: 'server', options: { host: 'redis.example', port: 6379, db: 0, tls: { servername: 'redis.example' } } })
  t.same(readAddress('url', 'rediss://127.0.0.1'), { kind: 'server', options: { host: '127.0.0.1', port: 6379, db: 0, tls: {} } })
})

t.test('address parses a unix socket with user, password and database', async (t) => {
  t.same(readAddress('url', 'unix:///run/redis/redis.sock'), { kind: 'server', options: { path: '/run/redis/redis.sock', db: 0 } })
  t.same(readAddress('url', 'unix://app:secret@/run/a%20b.sock?db=2'), { kind: 'server', options: { path: '/run/a b.sock', db: 2, username: 'app', password: 'secret' } })
})

t.test('address parses several servers as seed nodes of a Cluster, with the credentials of the first', async (t) => {
  t.same(readAddress('url', 'redis://app:secret@one:7000,redis://two:7001, redis://[::1]'), {
    kind: 'cluster',
    seeds: [{ host: 'one', port: 7000 }, { host: 'two', port: 7001 }, { host: '::1', port: 6379 }],
    options: { username: 'app', password: 'secret' }
  })
  t.same(readAddress('url', 'rediss://one:7000,rediss://two:7001'), { kind: 'cluster', seeds: [{ host: 'one', port: 7000 }, { host: 'two', port: 7001 }], options: { tls: {} } })
})

t.test('address parses the Sentinels of a master', async (t) => {
  t.same(readAddress('url', 'redis+sentinel://one,two:26380/main'), {
    kind: 'sentinel',
    options: { sentinels: [{ host: 'one', port: 26379 }, { host: 'two', port: 26380 }], name: 'main', db: 0 }
  })
  t.same(readAddress('url', 'rediss+sentinel://app:a:b%2Fc@[::1]:26380/main/4'), {
    kind: 'sentinel',
    options: { sentinels: [{ host: '::1', port: 26380 }], name: 'main', db: 4, username: 'app', password: 'a:b/c', tls: {} }
  })
})

t.test('address rejects invalid addresses, and prints no part of them', async (t) => {
  const wrong = [
    '', 'localhost', 'http://secret', 'redis://', 'redis://:secret/x@host', 'redis://user:12/secret@host', 'redis://user:12?secret@host', 'redis://host#secret',
    'redis://:secret%@host', 'redis://:secret@host:99999', 'redis://host/secret', 'redis://host/123456', 'redis://host?secret=1', 'redis://host?family=5',
    'unix://', 'unix://secret/path', 'unix:///path?db=secret', 'unix:///path?secret=1',
    'redis://host,', 'redis://one/1,redis://two', 'redis://one,redis://two/1', 'redis://:secret@one,rediss://two', 'redis://one,unix:///path',
    'redis+sentinel://host', 'redis+sentinel://host/', 'redis+sentinel://:secret@host/main/x', 'redis+sentinel://:secret%@host/main', 'redis+sentinel://host:99999/main', 'redis+sentinel://,/main'
  ]

  for (const url of wrong) {
    const error = refusalOf(url)
    t.match(error, { code: 'PRISM_ERR_OPTION' }, url)
    t.match(String(error), 'redis.url must be redis://', url)
    t.notMatch(JSON.stringify(Object.assign({}, error)) + String(error), 'secret', url)
  }
})

t.test('the error names the invalid part of an address', async (t) => {
  const faults: Record<string, string[]> = {
    'that is empty': [''],
    'without a scheme': ['localhost', ':secret@host'],
    'with another scheme': ['http://:secret@host', 'tcp://host:6379'],
    'with a /, ? or # that is not percent-encoded': ['redis://user:12/secret@host', 'redis://user:12?secret@host', 'redis://user:1#secret@host', 'redis://:se/cret@host/0'],
    'with a % that begins no escape': ['redis://:secret%@host', 'redis+sentinel://:secret%zz@host/main', 'unix://:secret%@/path'],
    'whose port is not a number from 0 to 65535': ['redis://:secret@host:99999', 'redis://:secret@host:port', 'redis://[::1]:123456'],
    'whose host is invalid': ['redis://:secret@[::1'],
    'with a space or a line break': ['redis://:secret@a b', 'redis-cli -u redis://:secret@host', 'redis://:secret@host\nredis://two'],
    'in quotation marks': ['"redis://:secret@host"', "'redis://:secret@host'"],
    'with a reference to a variable that was not replaced': [referenceTo('Redis.REDIS_URL'), `redis://:${referenceTo('secret')}@host`, 'redis://$secret:6379', 'redis://:secret@$HOST', 'redis://one,redis://$secret'],
    'without a host': ['redis://', 'redis://:secret@', 'redis://:secret@:6379'],
    'whose database is not an integer': ['redis://host/secret', 'redis://host/123456', 'redis://host/1/2', 'redis+sentinel://host/main/123456'],
    'with another parameter than family': ['redis://host?secret=1', 'redis://host?family=5'],
    'of Sentinels': ['redis+sentinel://host', 'redis+sentinel://host:99999/main', 'redis+sentinel://host/main/x'],
    'of a socket': ['unix://', 'unix:///path?secret=1'],
    'of a Cluster': ['redis://one/1,redis://two', 'redis://:secret@one,rediss://two']
  }

  for (const [fault, urls] of Object.entries(faults)) {
    for (const url of urls) {
      t.match(String(refusalOf(url)), `but is an address ${fault.startsWith('with a /') ? 'whose user or password has' : fault}`, url)
      t.notMatch(String(refusalOf(url)), /secret|undefined|zz/, url)
    }
  }
})

t.test('a text for operators names the place of each kind of address, an IPv6 address in brackets, without the login', async (t) => {
  const places = {
    'redis://app:secret@redis.example': 'redis.example:6379',
    'rediss://:secret@[fd12::1]:7000/3': '[fd12::1]:7000',
    'redis://:secret@[::1]:7000,redis://[::1]:7001': '[::1]:7000,[::1]:7001',
    'redis+sentinel://:secret@[::1],host:26380/main': 'the master main of the Sentinels [::1]:26379,host:26380',
    'unix://:secret@/run/redis.sock': '/run/redis.sock'
  }
  for (const [url, place] of Object.entries(places)) t.equal(placeOf(readAddress('url', url)), place)
})

/** As Railway writes a reference. */
function referenceTo (name: string): string {
  return `${'$'}{{${name}}}`
}

function refusalOf (url: string): unknown {
  try {
    return { readAs: readAddress('redis.url', url) }
  } catch (error) {
    return error
  }
}
