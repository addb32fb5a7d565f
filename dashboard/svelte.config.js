export default {
  compilerOptions: { runes: true },
  onwarn(warning, handler) {
    handler(warning);
  },
};
