/** The version of Redis whose commands and errors the in-memory server has: the one that the tests compare it with. */
export const emulatedVersion = '7.0.15'
