import { test } from 'tap'
import { hashPassword, verifyPassword } from '../../../service/atlas/password.ts'
import { until } from '../../support/until.ts'

/** Repeats a verification that is rejected because the ones before took long, as on a busy machine. */
async function calm<Result> (verify: () => Promise<Result>): Promise<Result> {
  return await until(verify, { what: 'a verification that is not rejected', everyMs: 100 }) as Result
}

test('a password is hashed with its own salt, and the cost is stored with it', async (t) => {
  const [one, two] = await Promise.all([hashPassword('correct horse'), hashPassword('correct horse')])

  t.match(one, /^\$scrypt\$ln=15,r=8,p=3\$[\w+/]{22}\$[\w+/]{43}$/)
  t.not(one, two)
  t.equal(await verifyPassword('correct horse', one), true)
  t.equal(await verifyPassword('correct horses', one), false)
})

test('a password hashed at another cost still verifies', async (t) => {
  const cheap = '$scrypt$ln=10,r=8,p=16$TmFDbA$/bq+HJ00cgB4VucZDQHp/nxq18vII3gw53N2Y0s3MWI'

  t.equal(await verifyPassword('password', cheap), true)   // RFC 7914 section 12, truncated to 32 bytes
})

test('no password is accepted for an unknown name', async (t) => {
  t.equal(await verifyPassword('', undefined), false)
  t.equal(await verifyPassword('correct horse', undefined), false)
})

test('many concurrent passwords are queued, and each gets its own result', async (t) => {
  const hashed = '$scrypt$ln=10,r=8,p=16$TmFDbA$/bq+HJ00cgB4VucZDQHp/nxq18vII3gw53N2Y0s3MWI'

  const results = await calm(() => Promise.all(['password', 'no', 'password', 'no', 'password'].map((password) => verifyPassword(password, hashed))))

  t.same(results, [true, false, true, false, true])
})

test('of many concurrent passwords the ones that would wait longest are rejected at once', async (t) => {
  const cheap = '$scrypt$ln=10,r=8,p=16$TmFDbA$/bq+HJ00cgB4VucZDQHp/nxq18vII3gw53N2Y0s3MWI'

  await calm(() => verifyPassword('password', cheap))
  const outcomes = await Promise.allSettled(Array.from({ length: 500 }, () => verifyPassword('password', cheap)))

  t.match(outcomes[0], { status: 'fulfilled', value: true })
  t.match(outcomes.at(-1), { status: 'rejected', reason: { code: 'PRISM_ERR_PASSWORD_QUEUE_FULL', statusCode: 503, retryAfterSeconds: Number } })
  t.equal(await calm(() => verifyPassword('password', cheap)), true)
})
