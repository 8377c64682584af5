/** A function of a participant; `at` is the participant's index. */
interface ParticipantFunction<Run> { readonly at: number, readonly run: Run }

/** One function of each participant that has it: a step that a participant does not have costs nothing in a request. */
export function functionsOf<Participant extends object, Name extends keyof Participant> (participants: readonly Participant[], name: Name): ParticipantFunction<NonNullable<Participant[Name]>>[] {
  return participants.flatMap((participant, at) => {
    const run = participant[name]
    return typeof run === 'function' ? [{ at, run: run.bind(participant) as NonNullable<Participant[Name]> }] : []
  })
}
