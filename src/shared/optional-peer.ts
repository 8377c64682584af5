import { PeerMissingError } from './errors.ts'

/**
 * Imports a package that only one feature needs, when that is registered: apps without it do not install the package.
 *
 * @param load the literal `import()`, so that TypeScript and bundlers know the package
 * @throws {PeerMissingError} PRISM_ERR_PEER_MISSING with the command that installs it
 */
export async function importPeer<Module> (feature: string, peer: string, load: () => Promise<Module>): Promise<Module> {
  try {
    return await load()
  } catch (error) {
    // The second code is Jest's. A file that the installed package misses is another fault.
    const { code, message } = error as NodeJS.ErrnoException
    if ((code === 'ERR_MODULE_NOT_FOUND' || code === 'MODULE_NOT_FOUND') && message.includes(`'${peer}'`)) throw new PeerMissingError(feature, peer, peer)
    throw error
  }
}
