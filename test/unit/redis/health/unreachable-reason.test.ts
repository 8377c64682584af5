import t from 'tap'
import { reasonOf } from '../../../../src/redis/health/unreachable-reason.ts'

const reply = (message: string) => Object.assign(new Error(message), { name: 'ReplyError' })
const coded = (code: string, message = code) => Object.assign(new Error(message), { code })

const errors: readonly (readonly [error: Error, code: string])[] = [
  [reply('WRONGPASS invalid username-password pair or user is disabled.'), 'wrong_password'],
  [reply('ERR invalid password'), 'wrong_password'],
  [reply('NOAUTH Authentication required.'), 'password_missing'],
  [reply('DENIED Redis is running in protected mode because protected mode is enabled'), 'protected_mode'],
  [reply("NOPERM this user has no permissions to run the 'set' command"), 'permission_denied'],
  [reply('NOPERM No permissions to access a key'), 'permission_denied'],
  [reply("ERR The user executing the script can't run this command or subcommand script: x"), 'permission_denied'],
  [reply('ERR max number of clients reached'), 'too_many_clients'],
  [reply('ERR DB index is out of range'), 'wrong_database'],
  [reply('ERR invalid DB index'), 'wrong_database'],
  [reply('ERR SELECT is not allowed in cluster mode'), 'wrong_database'],
  [reply('LOADING Redis is loading the dataset in memory'), 'loading'],
  [reply("READONLY You can't write against a read only replica."), 'read_only'],
  [reply("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'."), 'master_down'],
  [reply("OOM command not allowed when used memory > 'maxmemory'."), 'out_of_memory'],
  [reply('MISCONF Redis is configured to save RDB snapshots'), 'disk_write_failed'],
  [reply('NOREPLICAS Not enough good replicas to write.'), 'too_few_replicas'],
  [reply('BUSY Redis is busy running a script.'), 'busy_script'],
  [reply('CLUSTERDOWN Hash slot not served'), 'cluster_down'],
  [Object.assign(new Error('Failed to refresh slots cache.'), { lastNodeError: reply('WRONGPASS invalid') }), 'wrong_password'],
  [new Error('All sentinels are unreachable. Retrying from scratch after 10ms.'), 'no_sentinel'],
  [coded('ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED', 'tlsv13 alert certificate required'), 'client_certificate_wanted'],
  [coded('ERR_SSL_SSL/TLS_ALERT_HANDSHAKE_FAILURE', 'ssl/tls alert handshake failure'), 'tls_handshake_failed'],
  [coded('ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION', 'tlsv1 alert protocol version'), 'tls_handshake_failed'],
  [coded('ERR_SSL_NO_SHARED_CIPHER', 'no shared cipher'), 'tls_handshake_failed'],
  [coded('ERR_SSL_TLSV1_ALERT_UNKNOWN_CA', 'tlsv1 alert unknown ca'), 'client_certificate_rejected'],
  [coded('ERR_SSL_SSL/TLS_ALERT_CERTIFICATE_EXPIRED', 'ssl/tls alert certificate expired'), 'client_certificate_rejected'],
  [coded('ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE', 'sslv3 alert bad certificate'), 'client_certificate_rejected'],
  [coded('ERR_OSSL_X509_KEY_VALUES_MISMATCH', 'error:05800074:x509 certificate routines::key values mismatch'), 'client_certificate_unusable'],
  [coded('ERR_OSSL_PEM_NO_START_LINE', 'error:0480006C:PEM routines::no start line'), 'client_certificate_unusable'],
  [reply("ERR unknown command 'EVALSHA', with args beginning with: 'secret'"), 'command_missing'],
  [new Error("MISSING_COMMAND 'evalsha'"), 'command_missing'],
  [reply("ERR unknown command 'sentinel', with args beginning with: 'get-master-addr-by-name' 'main'"), 'no_sentinel'],
  [new Error('SENTINEL_ADDRESS'), 'sentinel_address'],
  [reply('ERR This instance has cluster support disabled'), 'not_a_cluster'],
  [new Error('the server rejected SELECT 1: NOPERM this user has no permissions to run the \'select\' command'), 'permission_denied'],
  [new Error('Reached the max retries per request limit (which is 0).'), 'connection_closed'],
  [coded('CERT_HAS_EXPIRED', 'certificate has expired'), 'certificate_expired'],
  [coded('ERR_TLS_CERT_ALTNAME_INVALID', "Hostname/IP does not match certificate's altnames"), 'certificate_wrong_name'],
  [coded('SELF_SIGNED_CERT_IN_CHAIN'), 'certificate_untrusted'],
  [coded('DEPTH_ZERO_SELF_SIGNED_CERT'), 'certificate_untrusted'],
  [coded('UNABLE_TO_VERIFY_LEAF_SIGNATURE'), 'certificate_untrusted'],
  // The codes of Node's certificate verification: https://nodejs.org/api/tls.html#x509-certificate-error-codes
  ...['UNABLE_TO_GET_ISSUER_CERT', 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY', 'UNABLE_TO_DECRYPT_CERT_SIGNATURE', 'UNABLE_TO_DECODE_ISSUER_PUBLIC_KEY', 'CERT_SIGNATURE_FAILURE', 'CERT_CHAIN_TOO_LONG', 'CERT_REVOKED', 'CERT_REJECTED', 'CERT_UNTRUSTED', 'INVALID_CA', 'INVALID_PURPOSE', 'PATH_LENGTH_EXCEEDED'].map((code) => [coded(code), 'certificate_untrusted'] as const),
  ...['CERT_NOT_YET_VALID', 'ERROR_IN_CERT_NOT_BEFORE_FIELD', 'ERROR_IN_CERT_NOT_AFTER_FIELD'].map((code) => [coded(code), 'certificate_expired'] as const),
  [coded('HOSTNAME_MISMATCH'), 'certificate_wrong_name'],
  [coded('ERR_SSL_WRONG_VERSION_NUMBER', 'wrong version number'), 'server_speaks_plain'],
  [new Error('Unknown RESP type 72 "H". Please report this.'), 'not_redis'],
  [new Error('Unknown RESP type 21 "\u0015". Please report this.'), 'server_speaks_tls'],
  [coded('ECONNREFUSED', 'connect ECONNREFUSED 127.0.0.1:1'), 'connection_refused'],
  [coded('ENOTFOUND', 'getaddrinfo ENOTFOUND redis.invalid'), 'unknown_name'],
  [coded('EAI_AGAIN', 'getaddrinfo EAI_AGAIN redis'), 'unknown_name'],
  [coded('ENOENT', 'connect ENOENT /run/redis.sock'), 'socket_missing'],
  [new Error('Command timed out'), 'no_answer'],
  [coded('ETIMEDOUT', 'connect ETIMEDOUT'), 'connect_timeout'],
  [coded('EHOSTUNREACH', 'connect EHOSTUNREACH 10.0.0.1:6379'), 'connect_timeout'],
  [coded('ECONNRESET', 'read ECONNRESET'), 'connection_closed'],
  [new Error('text with a secret'), 'unknown']
]

t.test('each Redis error has a reason code, a sentence that names the address, and a remedy', async (t) => {
  for (const [error, code] of errors) {
    const [hidden, shown] = [reasonOf(error), reasonOf(error, { where: 'redis.example:6379' })]
    t.equal(hidden.code, code, error.message)
    t.match(hidden.sentence, /^[A-Z].*\.$/)
    t.match(hidden.remedy, /^[A-Z].*\.$/)
    if (!['cluster_down', 'no_sentinel', 'not_a_cluster', 'client_certificate_unusable'].includes(code)) t.match(shown.sentence, 'redis.example:6379')
  }
})

t.test('the text of an unknown error is not shown, because it can contain a secret', async (t) => {
  t.notMatch(JSON.stringify(reasonOf(new Error('text with a secret'))), 'secret')
  t.match(reasonOf(reply('NEWWORD with a secret')).sentence, 'NEWWORD')
})
