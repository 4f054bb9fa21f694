import js from '@eslint/js'
import tseslint from 'typescript-eslint'

export default tseslint.config(
  { ignores: ['dist/', 'build/', 'build-*/', 'coverage/', 'node_modules/', 'prebuilds/'] },
  js.configs.recommended,
  ...tseslint.configs.recommended,
  {
    files: ['**/*.{js,mjs,ts}'],
    languageOptions: {
      globals: {
        process: 'readonly',
        console: 'readonly',
        URL: 'readonly',
        Buffer: 'readonly',
        performance: 'readonly',
        setTimeout: 'readonly',
        clearTimeout: 'readonly',
        setImmediate: 'readonly',
        structuredClone: 'readonly',
      },
    },
    rules: {
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      eqeqeq: 'error',
      'prefer-const': 'error',
      // `x !== x` is how a NaN is canonicalised on the fast path.
      'no-self-compare': 'off',
    },
  },
  {
    files: ['src/**/*.ts', 'examples/**/*.ts', 'bench/**/*.ts'],
    languageOptions: { parserOptions: { projectService: true } },
    rules: { '@typescript-eslint/no-floating-promises': 'error', '@typescript-eslint/await-thenable': 'error' },
  },
  {
    // The layers of ARCHITECTURE.md: what a mutator touches knows the collector's interface only.
    files: ['src/heap/**/*.ts'],
    rules: {
      'no-restricted-imports': [
        'error',
        { patterns: [{ regex: 'gc/(?!collector\\.js)', message: 'src/heap imports from src/gc only collector.ts' }] },
      ],
    },
  },
  {
    // How an object is read, and nothing of collectors.
    files: ['src/inspection/**/*.ts'],
    rules: {
      'no-restricted-imports': [
        'error',
        {
          patterns: [
            {
              regex: 'gc/(?!(trace|shape-reader|slot-names|int-lists)\\.js)|\\.\\./(glissade|index|testing)',
              message: 'src/inspection imports from src/gc only how an object is read',
            },
          ],
        },
      ],
    },
  },
  {
    files: ['src/cli/**/*.ts'],
    rules: {
      'no-restricted-imports': [
        'error',
        {
          patterns: [
            {
              regex:
                '\\.\\./(gc/(?!(native-loader|native|capabilities)\\.js)|heap/(?!options\\.js)|testing/(?!differential\\.js)|glissade\\.js)',
              message: 'src/cli uses the public API, glissade/testing, and what ARCHITECTURE.md names besides',
            },
          ],
        },
      ],
    },
  },
  {
    files: ['examples/**/*.ts'],
    rules: {
      'no-restricted-imports': [
        'error',
        { patterns: [{ regex: '(^|/)(src|dist)/', message: "examples use the public API: import from 'glissade'" }] },
      ],
    },
  },
)
