# Three targets over one core:
#   glissade_core  static library, native/core; includes no Node header
#   glissade       the addon, native/binding on the core
#   selftest       an executable that drives the core without Node, native/selftest on the core
#
# Variables (node-gyp rebuild -- -Dsanitize=thread -Ddebug_checks=1):
#   sanitize       '' | 'address,undefined' | 'thread'; with a value only the core and the self-test are built,
#                  because a sanitizer's runtime must be in the executable and Node's binary has none
#   debug_checks   1 defines GLISSADE_DEBUG: invariants are asserted
#
# -std=c++20 stands in each target: in target_defaults it would come before the one of Node's own
# common.gypi and lose without a word. -z nodelete: Node unloads an addon when the last worker that loaded it
# exits; collector threads and the SIGBUS handler must not point into nothing.
{
  'variables': {
    'sanitize%': '',
    'debug_checks%': 0,
    # Not in the package that is installed as a dependency.
    'selftest%': '<!(node -p "+fs.existsSync(\'native/selftest\')")',
    'glissade_cflags': [
      '-std=c++20', '-fno-exceptions', '-fno-rtti', '-fPIC', '-fvisibility=hidden',
      '-O2', '-g', '-Wall', '-Wextra', '-Wno-unused-parameter', '-fno-omit-frame-pointer',
    ],
  },
  'target_defaults': {
    'conditions': [
      ['target_arch=="x64"', {'cflags_cc': ['-march=x86-64-v2']}],
      ['debug_checks==1', {'defines': ['GLISSADE_DEBUG=1']}],
      ['sanitize!=""', {
        'cflags_cc': ['-fsanitize=<(sanitize)', '-fno-sanitize-recover=undefined'],
        'ldflags': ['-fsanitize=<(sanitize)'],
        'defines': ['GLISSADE_SANITIZE=1'],
      }],
    ],
  },
  'targets': [
    {
      'target_name': 'glissade_core',
      'type': 'static_library',
      'sources': ['<!@(node scripts/list-sources.mjs native/core)'],
      'include_dirs': ['native'],
      'cflags_cc!': ['-std=gnu++17', '-std=gnu++20', '-O3'],
      'cflags_cc': ['<@(glissade_cflags)'],
      'direct_dependent_settings': {'include_dirs': ['native']},
    },
  ],
  'conditions': [
    ['selftest==1', {
      'targets': [
        {
          'target_name': 'selftest',
          'type': 'executable',
          'dependencies': ['glissade_core'],
          'sources': ['<!@(node scripts/list-sources.mjs native/selftest)'],
          'cflags_cc!': ['-std=gnu++17', '-std=gnu++20', '-O3'],
          'cflags_cc': ['<@(glissade_cflags)'],
          'libraries': ['-lpthread'],
        },
      ],
    }],
    ['sanitize==""', {
      'targets': [
        {
          'target_name': 'glissade',
          'dependencies': [
            'glissade_core',
            '<!(node -p "require(\'node-addon-api\').targets"):node_addon_api',
          ],
          'sources': ['<!@(node scripts/list-sources.mjs native/binding)'],
          'defines': [
            'NAPI_VERSION=9',
            'NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS',
            'NODE_ADDON_API_DISABLE_DEPRECATED',
          ],
          'cflags_cc!': ['-std=gnu++17', '-std=gnu++20', '-O3'],
          'cflags_cc': ['<@(glissade_cflags)'],
          'ldflags': ['-Wl,-z,nodelete'],
        },
      ],
    }],
  ],
}
