<?php

/*
 * SimpleSAMLphp as an identity provider that signs people in with a password, for tests on this machine.
 *
 * SIMPLESAMLPHP_RUN names a folder of the run's own: settings.json in it says the address, the keys, the
 * password and the service providers, and is read at every request; sessions and logs go there too.
 */

use SimpleSAML\Logger;

$run = getenv('SIMPLESAMLPHP_RUN') . '/';
$settings = json_decode(file_get_contents($run . 'settings.json'), true, 64, JSON_THROW_ON_ERROR);

$config = [
    'baseurlpath' => $settings['base_url'],
    'certdir' => $run,
    'loggingdir' => $run,
    'datadir' => $run,
    'tempdir' => $run . 'tmp',
    'metadatadir' => dirname(__DIR__) . '/metadata',
    'metadata.sources' => [['type' => 'flatfile']],

    'secretsalt' => $settings['salt'],
    'auth.adminpassword' => $settings['admin_password'],
    'admin.protectindexpage' => true,
    'admin.checkforupdates' => false,
    'timezone' => 'UTC',
    'technicalcontact_name' => 'The tests',
    'technicalcontact_email' => 'na@example.org',

    'enable.saml20-idp' => true,
    'module.enable' => ['core' => true, 'exampleauth' => true, 'saml' => true],

    'store.type' => 'phpsession',
    'session.phpsession.savepath' => $run . 'sessions',
    'session.phpsession.cookiename' => 'SimpleSAML',
    // Plain http, on which a browser keeps no Secure cookie, and takes SameSite=None with Secure only.
    'session.cookie.secure' => false,
    'session.cookie.samesite' => null,
    'language.cookie.secure' => false,
    'language.cookie.samesite' => null,
    'enable.http_post' => true,

    'logging.handler' => 'file',
    'logging.logfile' => 'simplesamlphp.log',
    'logging.level' => Logger::INFO,
    'showerrors' => true,
    'errorreporting' => false,
    'production' => true,
];
