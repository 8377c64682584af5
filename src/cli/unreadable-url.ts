const schemes = 'redis://, rediss://, unix://, redis+sentinel:// or rediss+sentinel://'

/** What the parts of an address may have wrong, most telling first. None shows what came: any part of it may be a password's. */
const faults: readonly (readonly [isSo: (url: string) => boolean, says: string])[] = [
  [(url) => /^["'].*|["']$/.test(url), 'it is in quotation marks: leave them out.'],
  [(url) => /\$\{|\$\w/.test(url), 'it holds a reference to a variable that was not replaced: check the name of the variable.'],
  [(url) => /\s/.test(url), 'it holds a space or a line break: percent-encode it (%20), or leave it out.'],
  [(url) => !url.includes('://'), `it has no scheme: write ${schemes}.`],
  [(url) => !/^(?:rediss?(?:\+sentinel)?|unix):\/\//.test(url), `it begins with another scheme than ${schemes}.`],
  [(url) => /%(?![\da-f]{2})/i.test(url), 'it holds a % that is not followed by two hexadecimal digits: write %25 for a % in a password.'],
  [(url) => url.includes('#'), 'it holds a #: write %23 for a # in a password.'],
  [(url) => /^redis[^,]*@[^,]*@/.test(url), 'it holds two @: write %40 for an @ in a password.'],
  [(url) => /^rediss?:\/\/[^@]*\/[^@]*@/.test(url), 'it holds a / before the @: write %2F for a / in a password.'],
  [(url) => /^rediss?:\/\/(?:[^@]*@)?(?:[:/?]|$)/.test(url), 'it names no host.'],
  [(url) => /\+sentinel:/.test(url), 'Sentinels want host:port,host:port/name: the name of the master after a /, and perhaps /database.'],
  [(url) => url.startsWith('unix:'), 'a socket wants unix:///path/to.sock, perhaps with ?db=number.'],
  [(url) => /^rediss?:\/\/(?:[^@]*@)?(?:\[[^\]]*\]|[^:/]*):(?!\d{1,5}(?:[/?,]|$))/.test(url), 'its port is no number.'],
  [(url) => url.includes(','), 'of several addresses each needs redis:// and a host, all or none with TLS, and none a database: a Cluster has only database 0.'],
  [(url) => /:\d{5,}/.test(url), 'its port is above 65535.'],
  [(url) => url.includes('?'), 'the only parameter that is read is ?family=4 or ?family=6.']
]

/** Why an address of Redis cannot be read, as an ending of a sentence. */
export function whyUnreadable (url: string): string {
  const text = url.trim()
  return faults.find(([isSo]) => isSo(text))?.[1] ?? 'what follows the host must be a port and perhaps /database, a number.'
}
