// Where the reader is: set by each screen, shown in the header.

export interface Crumb {
  text: string;
  path?: string;
}

class Crumbs {
  all = $state.raw<Crumb[]>([]);
}

export const crumbs = new Crumbs();
