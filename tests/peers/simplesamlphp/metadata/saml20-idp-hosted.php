<?php

/* The identity provider: its entity id is the address of its metadata. The run says whose keys sign. */

require dirname(__DIR__) . '/config/config.php';

$metadata['__DYNAMIC:1__'] = $settings['keys'] + [
    'host' => '__DEFAULT__',
    'auth' => 'people',
    'authproc' => [
        10 => [
            'class' => 'saml:AttributeNameID',
            'attribute' => 'entryUUID',
            'Format' => 'urn:oasis:names:tc:SAML:2.0:nameid-format:persistent',
        ],
    ],
];
