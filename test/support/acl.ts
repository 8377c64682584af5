/** A user that a server is started with. */
export interface AclUser {
  name: string
  password: string
  /** What the user may do; everything. */
  rules?: string[]
}

/** Words for redis-server's command line that make a user. */
export function aclUser ({ name, password, rules = ['~*', '&*', '+@all'] }: AclUser): string[] {
  return ['--user', name, 'on', `>${password}`, ...rules]
}

/** Words for redis-server's command line that shut out whoever brings no user and password. */
export function noDefaultUser (): string[] {
  return ['--user', 'default', 'off']
}
