import assert from 'node:assert/strict';
import { missingPlugins } from '@nxnw/cli/pulumi';

describe('a plugin that Pulumi does not find', () => {
  it('is named once, with both ways to get it', () => {
    const said = `error: no resource plugin 'pulumi-resource-openstack' found in the workspace at version v3.15.2 or on your $PATH\n`;
    const [line = '', ...more] = missingPlugins(said + said);
    assert.deepEqual(more, []);
    assert.match(line, /pulumi plugin install resource openstack v3\.15\.2/);
    assert.match(line, /npm run setup -- openstack-provider/);
  });

  it('is not seen in other failures', () => {
    assert.deepEqual(missingPlugins('error: [nxnw:BAD_CONFIG] the configuration has a fault'), []);
  });
});
