/**
 * glissade: a managed heap for language runtimes, with a collector that moves objects while the program runs.
 *
 * @packageDocumentation
 */
export {}
