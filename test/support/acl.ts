/** A user that a server is started with. */
export interface AclUser {
  name: string
  password: string
  /** What the user may do; everything. */
  rules?: string[]
}

/** Command line arguments of redis-server that create a user. */
export function aclUser ({ name, password, rules = ['~*', '&*', '+@all'] }: AclUser): string[] {
  return ['--user', name, 'on', `>${password}`, ...rules]
}

/** Command line arguments of redis-server that reject clients without user and password. */
export function noDefaultUser (): string[] {
  return ['--user', 'default', 'off']
}
