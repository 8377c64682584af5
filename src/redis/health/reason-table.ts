import { aclDenial, neededRights } from './error-class.ts'

/** How an error is recognised, and what is said of it. */
export interface ReasonRow {
  readonly pattern: RegExp
  readonly sentence: (subject: Subject, error: Error) => string
  readonly remedy: string
}

/** `Redis at host:port`, `host:port` and `The socket path`; without an address `Redis`, `the address of Redis` and `The socket of Redis`. */
export interface Subject { readonly redis: string, readonly address: string, readonly socket: string }

// The first pattern that matches decides.
export const rows = {
  wrong_password: {
    pattern: /WRONGPASS|invalid (username-)?password|invalid username/i,
    sentence: ({ redis }) => `${redis} rejects the user or password (WRONGPASS).`,
    remedy: 'Compare the user and password in REDIS_URL with the server\'s (percent-encode characters such as @ : / # %).'
  },
  password_missing: {
    pattern: /NOAUTH/,
    sentence: ({ redis }) => `${redis} requires a password, and none is configured (NOAUTH).`,
    remedy: 'Write redis://default:<password>@host:port in REDIS_URL.'
  },
  protected_mode: {
    pattern: /DENIED Redis is running in protected mode/i,
    sentence: ({ redis }) => `${redis} is in protected mode and rejects connections from other machines.`,
    remedy: 'Set a password (requirepass), or bind the server to its private address.'
  },
  permission_denied: {
    pattern: /NOPERM|The user executing the script can't|ACL failure in script/,
    sentence: ({ redis }, error) => `${redis} denies its user ${aclDenial(error) ?? 'a command'} (NOPERM).`,
    remedy: `Grant the user in REDIS_URL at least ${neededRights}.`
  },
  command_missing: {
    pattern: /MISSING_COMMAND|unknown command(?! .?sentinel)/i,
    sentence: ({ redis }, error) => `${redis} does not have the command ${/'(\w{1,20})'/.exec(error.message)?.[1] ?? 'that is needed'} (unknown command).`,
    remedy: 'Use Redis 7 or newer or Valkey, not a proxy that lacks commands, and remove rename-command for it from redis.conf.'
  },
  version_too_old: {
    pattern: /VERSION_TOO_OLD/,
    sentence: ({ redis }, error) => `${redis} has version ${/(\d[\d.]{0,20})$/.exec(error.message)?.[1] ?? 'unknown'}, which is too old: 7 or newer is required.`,
    remedy: 'Upgrade the server to Redis 7.2 or newer, or Valkey.'
  },
  sentinel_address: {
    pattern: /SENTINEL_ADDRESS/,
    sentence: ({ redis }) => `${redis} is a Sentinel, which stores no data.`,
    remedy: 'Write redis+sentinel://host:26379,host:26379/name in REDIS_URL, with the name of the master.'
  },
  too_many_clients: {
    pattern: /max number of clients/,
    sentence: ({ redis }) => `${redis} rejects connections: the maximum number of clients (maxclients) is reached.`,
    remedy: 'Lower redis.max of the services that share it, or raise maxclients (CONFIG SET maxclients 20000).'
  },
  wrong_database: {
    pattern: /DB index|SELECT is not allowed|invalid DB/i,
    sentence: ({ redis }) => `${redis} does not have the database number that REDIS_URL or redis.connection.db selects.`,
    remedy: 'Select an existing database (0 always exists; a Cluster has no other), or raise `databases` in redis.conf.'
  },
  loading: {
    pattern: /^LOADING/,
    sentence: ({ redis }) => `${redis} is loading its data from disk (LOADING) and does not serve commands yet.`,
    remedy: 'Wait until the load has ended; loading_loaded_perc of INFO persistence shows the progress.'
  },
  read_only: {
    pattern: /^(?:-)?READONLY/,
    sentence: ({ redis }) => `${redis} is a replica and rejects every write (READONLY).`,
    remedy: 'Set REDIS_URL to the master, or to its Sentinels: redis+sentinel://host:26379,host:26379/name.'
  },
  master_down: {
    pattern: /^MASTERDOWN/,
    sentence: ({ redis }) => `${redis} is a replica that has lost its master and rejects every command (MASTERDOWN).`,
    remedy: 'Set REDIS_URL to the master, or check why the master is down.'
  },
  out_of_memory: {
    pattern: /^(?:-)?OOM/,
    sentence: ({ redis }) => `${redis} is out of memory and rejects writes (OOM): maxmemory is reached, and maxmemory-policy finds nothing to evict.`,
    remedy: 'Raise maxmemory, or CONFIG SET maxmemory-policy volatile-ttl; `npx fastify-prism keys` (in a clone `npm run prism -- keys`) shows the largest namespace.'
  },
  disk_write_failed: {
    pattern: /^(?:-)?MISCONF/,
    sentence: ({ redis }) => `${redis} could not write its data to disk and rejects writes (MISCONF).`,
    remedy: 'Check the server\'s log, its disk space and the permissions of its folder; CONFIG SET stop-writes-on-bgsave-error no accepts writes until then.'
  },
  too_few_replicas: {
    pattern: /^(?:-)?NOREPLICAS/,
    sentence: ({ redis }) => `${redis} has too few connected replicas and rejects writes (NOREPLICAS).`,
    remedy: 'Check why the replicas are not connected, or lower min-replicas-to-write.'
  },
  busy_script: {
    pattern: /^BUSY\b/,
    sentence: ({ redis }) => `${redis} runs a script or function that does not end (BUSY).`,
    remedy: 'End it: SCRIPT KILL or FUNCTION KILL.'
  },
  cluster_down: {
    pattern: /CLUSTERDOWN|None of startup nodes is available|Failed to refresh slots cache|no slot is served/,
    sentence: () => 'The Redis Cluster does not serve all of its slots (CLUSTERDOWN).',
    remedy: 'Check CLUSTER INFO and CLUSTER NODES: start the masters that are down, or assign their slots (redis-cli --cluster fix).'
  },
  not_a_cluster: {
    pattern: /cluster support disabled/i,
    sentence: () => 'REDIS_URL lists several servers, the seed nodes of a Cluster, but they are not part of one.',
    remedy: 'Write one address in REDIS_URL (for a master with replicas those of its Sentinels), or start the servers with cluster-enabled yes.'
  },
  no_sentinel: {
    pattern: /All sentinels are unreachable|sentinels? (?:are|is) unreachable|unknown command .?sentinel/i,
    sentence: () => 'No Sentinel that knows the master can be reached.',
    remedy: 'Check the hosts and ports of the Sentinels in REDIS_URL (26379 by default) and the name of the master.'
  },
  client_certificate_unusable: {
    pattern: /KEY_VALUES_MISMATCH|key values mismatch|ERR_OSSL|no start line|bad decrypt/i,
    sentence: () => 'The TLS client certificate and its key cannot be used: one of them is damaged, or they do not belong together.',
    remedy: 'Compare REDIS_TLS_CERT and REDIS_TLS_KEY (in code, redis.connection.tls.cert and key): PEM, of one certificate, the key without a passphrase.'
  },
  client_certificate_rejected: {
    // An alert is sent by the server, so it is about the client's certificate. @see RFC 8446 section 6.2
    pattern: /alert[ _](?:unknown[ _]ca|bad[ _]certificate|unsupported[ _]certificate|certificate[ _](?:revoked|expired|unknown)|access[ _]denied|decrypt[ _]error)/i,
    sentence: ({ redis }) => `${redis} rejects the TLS client certificate.`,
    remedy: 'Set REDIS_TLS_CERT and REDIS_TLS_KEY (in code, redis.connection.tls.cert and key) to a valid certificate of the authority that the server trusts (its tls-ca-cert-file).'
  },
  client_certificate_wanted: {
    pattern: /CERTIFICATE_REQUIRED|certificate required|PEER_DID_NOT_RETURN/i,
    sentence: ({ redis }) => `${redis} requires a TLS client certificate, and none that it accepts is configured.`,
    remedy: 'Set REDIS_TLS_CERT and REDIS_TLS_KEY (in code, redis.connection.tls.cert and key), or tls-auth-clients no on the server.'
  },
  certificate_expired: {
    pattern: /CERT_HAS_EXPIRED|certificate has expired|CERT_NOT_YET_VALID|IN_CERT_NOT_(?:BEFORE|AFTER)/i,
    sentence: ({ redis }) => `The TLS certificate of ${redis} has expired or is not valid yet.`,
    remedy: 'Renew the certificate, and check the clocks of both machines.'
  },
  certificate_wrong_name: {
    pattern: /ALTNAME|does not match certificate|HOSTNAME_MISMATCH/i,
    sentence: ({ redis }) => `The TLS certificate of ${redis} is for another name.`,
    remedy: 'Use the host name of the certificate in REDIS_URL.'
  },
  certificate_untrusted: {
    // CERT_SIGNATURE_FAILURE: the configured authority has the name of the issuer, and another key.
    pattern: /SELF_SIGNED|DEPTH_ZERO|UNABLE_TO_(?:VERIFY|GET|DECRYPT|DECODE)|CERT_(?:UNTRUSTED|SIGNATURE_FAILURE|CHAIN_TOO_LONG|REVOKED|REJECTED)|INVALID_(?:CA|PURPOSE)|PATH_LENGTH_EXCEEDED|self.signed|unknown.ca/i,
    sentence: ({ redis }) => `The TLS certificate of ${redis} is signed by an authority that this machine does not trust.`,
    remedy: 'Set REDIS_TLS_CA to the PEM file of the authority (or NODE_EXTRA_CA_CERTS; in code, redis.connection.tls.ca).'
  },
  server_speaks_plain: {
    pattern: /SERVER_SPEAKS_PLAIN|WRONG_VERSION_NUMBER|wrong version number|PACKET_LENGTH_TOO_LONG|packet length too long|HTTP_REQUEST/i,
    sentence: ({ redis }) => `${redis} does not use TLS on this port, but the address requires TLS (rediss://).`,
    remedy: 'Write redis:// in place of rediss://, or use the server\'s TLS port.'
  },
  server_speaks_tls: {
    pattern: /SERVER_SPEAKS_TLS|Unknown RESP type 21\b/,
    sentence: ({ redis }) => `${redis} accepts only TLS on this port, but the address has redis://, which is without TLS.`,
    remedy: 'Write rediss:// in place of redis://, or use the server\'s plain port.'
  },
  tls_handshake_failed: {
    pattern: /EPROTO|ERR_SSL|\bSSL\b/,
    sentence: ({ redis }, error) => `The TLS handshake with ${redis} fails (${wordOf(error)}).`,
    remedy: 'The server may require a client certificate (set REDIS_TLS_CERT and REDIS_TLS_KEY), or have no TLS version or cipher in common with this process (tls-protocols, tls-ciphers).'
  },
  not_redis: {
    pattern: /Unknown RESP type|Protocol error, got/i,
    sentence: ({ address }) => `The server at ${address} is not Redis.`,
    remedy: 'Check the host and port in REDIS_URL.'
  },
  connection_refused: {
    pattern: /ECONNREFUSED/,
    sentence: ({ address }) => `The connection is refused (ECONNREFUSED). Nothing listens at ${address}.`,
    remedy: 'Set REDIS_URL to the address of Redis, or start Redis.'
  },
  unknown_name: {
    pattern: /ENOTFOUND|EAI_AGAIN|EAI_NONAME|ENODATA/,
    sentence: ({ address }) => `DNS cannot resolve the name (ENOTFOUND). The host name in ${address} does not exist, or is not visible from here.`,
    remedy: 'Check REDIS_URL, and that this machine is in the server\'s private network (on Railway: the same project and environment).'
  },
  socket_missing: {
    pattern: /ENOENT|EACCES/,
    sentence: ({ socket }) => `${socket} does not exist, or this process has no permission to use it.`,
    remedy: 'Check the path in REDIS_URL, unixsocket and unixsocketperm in redis.conf, and the user of this process.'
  },
  no_answer: {
    pattern: /no reply within|Command timed out|no node replies/,
    sentence: ({ redis }) => `${redis} accepts connections but does not reply within the deadline.`,
    remedy: 'Check whether the server hangs or runs a slow command (SLOWLOG GET), and whether it is in the same region: a round trip must be shorter than the deadline.'
  },
  connect_timeout: {
    pattern: /ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|EHOSTDOWN|timed? ?out/i,
    sentence: ({ address }) => `The connection to ${address} times out.`,
    remedy: 'Check for a firewall or a missing network route, whether the server hangs, and whether it uses TLS if the address does.'
  },
  connection_closed: {
    pattern: /ECONNRESET|EPIPE|Connection is closed|ECONNABORTED|closed the connection|aborted due to connection close|max retries per request/,
    sentence: ({ redis }) => `${redis} closes the connection at once.`,
    remedy: 'The server may accept only TLS (write rediss://), be restarting, or have reached maxclients: check its log.'
  },
  not_connected: {
    pattern: /not connected yet/,
    sentence: ({ redis }) => `No connection to ${redis} has been made yet.`,
    remedy: 'Wait a second: the next attempt reports a more precise reason.'
  }
} as const satisfies Record<string, ReasonRow>

/** The code of an unknown error, or the first word of an error reply: neither can contain a secret. */
export function wordOf (error: Error & { code?: unknown }): string {
  return typeof error.code === 'string' ? error.code : /^-?([A-Z]{2,})\b/.exec(error.message)?.[1] ?? error.name
}
