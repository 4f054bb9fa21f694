/** What tests and stress programs need beyond the public API. */
export {}
