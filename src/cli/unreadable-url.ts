const schemes = 'redis://, rediss://, unix://, redis+sentinel:// or rediss+sentinel://'

/** What the parts of an address may have wrong, most telling first. None shows what came: any part of it may be a password's. */
const faults: readonly (readonly [isSo: (url: string) => boolean, says: string])[] = [
  [(url) => /^["'].*|["']$/.test(url), 'it is in quotation marks: remove them.'],
  [(url) => /\$\{|\$\w/.test(url), 'it contains a reference to a variable that was not replaced: check the name of the variable.'],
  [(url) => /\s/.test(url), 'it contains a space or a line break: percent-encode it (%20), or remove it.'],
  [(url) => !url.includes('://'), `it has no scheme: write ${schemes}.`],
  [(url) => !/^(?:rediss?(?:\+sentinel)?|unix):\/\//.test(url), `its scheme is none of ${schemes}.`],
  [(url) => /%(?![\da-f]{2})/i.test(url), 'it contains a % that is not followed by two hexadecimal digits: write %25 for a % in a password.'],
  [(url) => url.includes('#'), 'it contains a #: write %23 for a # in a password.'],
  [(url) => /^redis[^,]*@[^,]*@/.test(url), 'it contains two @: write %40 for an @ in a password.'],
  [(url) => /^rediss?:\/\/[^@]*\/[^@]*@/.test(url), 'it contains a / before the @: write %2F for a / in a password.'],
  [(url) => /^rediss?:\/\/(?:[^@]*@)?(?:[:/?]|$)/.test(url), 'it has no host.'],
  [(url) => /\+sentinel:/.test(url), 'Sentinels are written as host:port,host:port/name: after the / the name of the master, optionally followed by /database.'],
  [(url) => url.startsWith('unix:'), 'a socket is written as unix:///path/to.sock, optionally with ?db=number.'],
  [(url) => /^rediss?:\/\/(?:[^@]*@)?(?:\[[^\]]*\]|[^:/]*):(?!\d{1,5}(?:[/?,]|$))/.test(url), 'its port is not a number.'],
  [(url) => url.includes(','), 'in a list, each address needs redis:// and a host, all or none use TLS, and none has a database: a Cluster has only database 0.'],
  [(url) => /:\d{5,}/.test(url), 'its port is above 65535.'],
  [(url) => url.includes('?'), 'the only supported parameter is ?family=4 or ?family=6.']
]

/** Why an address of Redis cannot be read, as an ending of a sentence. */
export function whyUnreadable (url: string): string {
  const text = url.trim()
  return faults.find(([isSo]) => isSo(text))?.[1] ?? 'the host may be followed only by a port and /database, both numbers.'
}
