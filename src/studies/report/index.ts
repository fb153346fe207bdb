export { refreshReport, writeReport } from './files.ts';
export * from './html.ts';
export { asset, type Page, page } from './page.ts';
export { renderPicture } from './picture.ts';
export { type ReportOptions, renderReport, reportBody, topBar } from './report.ts';
