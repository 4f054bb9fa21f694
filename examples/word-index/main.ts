import * as glissade from 'glissade'
console.log(Object.keys(glissade))
